import { Badge } from '@mantine/core';

import { text } from '../text';

const good = ['running', 'live', 'done'];
const warn = ['starting', 'queued', 'stopping'];
const bad = ['crashed', 'failed', 'rolled_back'];
const quiet = ['empty', 'paused', 'canceled', 'superseded'];

/** A state in a word and a colour. */
export function State({ of }: { of: string | undefined }) {
  if (of === undefined || of === '') return null;
  const tone = good.includes(of) ? 'good' : bad.includes(of) ? 'bad' : quiet.includes(of) ? 'quiet' : 'warn';
  const word = (text.states as Record<string, string>)[of] ?? of;
  return (
    <Badge variant="light" tt="none" fw={600} className={`tone tone-${tone}`} data-state={of} data-warn={warn.includes(of) || undefined}>
      {word}
    </Badge>
  );
}
