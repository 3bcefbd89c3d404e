import { Badge } from '@mantine/core';

import { text } from '../text';

const good = ['running', 'live', 'done', 'ok'];
const bad = ['crashed', 'failed', 'rolled_back', 'down', 'denied', 'invalid', 'internal', 'unauthenticated', 'not_found', 'conflict', 'exhausted'];
const quiet = ['empty', 'paused', 'canceled', 'superseded'];

/** A state in a word and a colour. */
export function State({ of }: { of: string | undefined }) {
  if (of === undefined || of === '') return null;
  const tone = good.includes(of) ? 'good' : bad.includes(of) ? 'bad' : quiet.includes(of) ? 'quiet' : 'warn';
  const word = (text.states as Record<string, string>)[of] ?? of;
  return (
    <Badge variant="light" tt="none" fw={600} className={`tone tone-${tone}`} data-state={of}>
      {word}
    </Badge>
  );
}
