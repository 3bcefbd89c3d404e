import { Badge, Button, Group, Select, Stack, Switch, Text, TextInput } from '@mantine/core';
import { useDebouncedValue } from '@mantine/hooks';
import { IconArrowDown, IconDownload, IconSearch } from '@tabler/icons-react';
import { useDeferredValue, useEffect, useLayoutEffect, useMemo, useRef, useState } from 'react';

import { type LogLine } from '../api/client';
import { useStream } from '../api/stream';
import { text } from '../text';
import { useParam } from '../ui/params';
import { ProblemBox } from '../ui/problem';
import { exact } from '../ui/when';
import { useThis } from './app';
import css from './apps.module.css';
import { useProcesses } from './overview';

const most = 5000; // lines that are kept; the download has all
const clock = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit', second: '2-digit', fractionalSecondDigits: 3, hour12: false });

const none: Kept[] = [];

interface Kept extends LogLine {
  key: number;
}

/** Gathers lines as they come, and shows them a few times a second. */
function useTail(path: string) {
  const [tail, setTail] = useState<{ path: string; lines: Kept[] }>({ path, lines: [] });
  const fresh = useRef<Kept[]>([]);
  const count = useRef(0);
  const stream = useStream<LogLine>(path, (line) => {
    fresh.current.push({ ...line, key: count.current++ });
  });
  useEffect(() => {
    const timer = setInterval(() => {
      if (fresh.current.length === 0) return;
      const more = fresh.current;
      fresh.current = [];
      setTail((old) => ({ path, lines: [...(old.path === path ? old.lines : []), ...more].slice(-most) }));
    }, 200);
    return () => {
      clearInterval(timer);
      fresh.current = [];
    };
  }, [path]);
  return { lines: tail.path === path ? tail.lines : none, stream };
}

/** What the app prints, as it prints it. */
export function Logs() {
  const app = useThis();
  const [process, setProcess] = useParam('process');
  const [replica, setReplica] = useParam('replica');
  const [q, setQ] = useParam('q');
  const [onlyErrors, setOnlyErrors] = useParam('stderr');
  const [find] = useDebouncedValue(q.toLowerCase(), 150);
  const base = `/v1/apps/${encodeURIComponent(app.name)}/logs`;
  const some = process === '' ? '' : `&process=${encodeURIComponent(process)}`;
  const { lines, stream } = useTail(`${base}/stream?tail=500${some}`);
  const processes = useProcesses(app.name);
  const shown = useDeferredValue(
    useMemo(
      () =>
        lines.filter((l) => (replica === '' || String(l.replica) === replica) && (find === '' || l.text.toLowerCase().includes(find)) && (onlyErrors === '' || l.stderr === true)),
      [lines, replica, find, onlyErrors],
    ),
  );
  const filtered = replica !== '' || find !== '' || onlyErrors !== '';
  const box = useRef<HTMLDivElement>(null);
  const [stuck, setStuck] = useState(true); // to the end, until somebody scrolls up
  useLayoutEffect(() => {
    if (stuck && box.current !== null) box.current.scrollTop = box.current.scrollHeight;
  }, [shown, stuck]);
  const replicas = [...new Set(lines.map((l) => String(l.replica)))].sort((a, b) => Number(a) - Number(b));
  const download = () => {
    const all = shown.map((l) => `${l.time} ${l.process}.${l.replica} ${l.text}`).join('\n');
    const a = document.createElement('a');
    a.href = URL.createObjectURL(new Blob([all, '\n'], { type: 'text/plain' }));
    a.download = `${app.name}.log`;
    a.click();
    URL.revokeObjectURL(a.href);
  };
  return (
    <Stack gap="sm">
      <Group gap="sm" align="center">
        <TextInput
          type="search"
          aria-label={text.logs.search}
          placeholder={text.logs.search}
          leftSection={<IconSearch size={18} />}
          value={q}
          onChange={(e) => setQ(e.currentTarget.value)}
          flex="1 1 12rem"
        />
        <Select
          aria-label={text.logs.process}
          placeholder={text.logs.everyProcess}
          clearable
          value={process || null}
          onChange={(v) => setProcess(v ?? '')}
          data={(processes.data?.items ?? []).map((p) => p.name)}
          w={160}
        />
        <Select
          aria-label={text.logs.replica}
          placeholder={text.logs.everyReplica}
          clearable
          value={replica || null}
          onChange={(v) => setReplica(v ?? '')}
          data={replicas.map((value) => ({ value, label: text.logs.nth(value) }))}
          w={150}
        />
        <Switch label={text.logs.errors} checked={onlyErrors !== ''} onChange={(e) => setOnlyErrors(e.currentTarget.checked ? 'only' : '')} />
        <Button variant="default" leftSection={<IconDownload size={18} />} onClick={download} disabled={shown.length === 0}>
          {text.logs.download}
        </Button>
      </Group>
      <ProblemBox error={stream.problem} />
      <div
        ref={box}
        className={`${css.log} ${css.live}`}
        tabIndex={0}
        role="log"
        aria-label={text.logs.title}
        aria-live="off"
        onScroll={(e) => {
          const b = e.currentTarget;
          setStuck(b.scrollHeight - b.scrollTop - b.clientHeight < 24);
        }}
      >
        {shown.map((l) => (
          <div key={l.key} className={css.line} data-err={l.stderr === true ? true : undefined}>
            <time dateTime={l.time} title={exact(l.time)}>
              {clock.format(new Date(l.time))}
            </time>
            <span className={css.from ?? 'from'}>
              {l.process}.{l.replica}
            </span>
            <span className={css.said ?? 'said'}>{l.text}</span>
          </div>
        ))}
        {lines.length === 0 ? <span>{text.logs.none}</span> : filtered && shown.length === 0 && <span>{text.logs.noMatch}</span>}
      </div>
      <Group justify="space-between">
        <Group gap="sm">
          <Badge variant="light" tt="none" className={`tone tone-${stream.live ? 'good' : 'quiet'}`}>
            {stream.live ? text.logs.live : text.logs.notLive}
          </Badge>
          <Text size="sm" c="dimmed">
            {text.logs.count(shown.length, lines.length)}
          </Text>
        </Group>
        {!stuck && (
          <Button size="compact-md" leftSection={<IconArrowDown size={16} />} onClick={() => setStuck(true)}>
            {text.logs.end}
          </Button>
        )}
      </Group>
    </Stack>
  );
}
