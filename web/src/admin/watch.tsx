import { Anchor, Button, Center, Group, Stack, Text, TextInput } from '@mantine/core';
import { IconDownload, IconSearch } from '@tabler/icons-react';
import { useDebouncedValue } from '@mantine/hooks';
import { keepPreviousData, useInfiniteQuery, useQuery } from '@tanstack/react-query';
import { useMemo } from 'react';
import { Link } from 'react-router';

import { api, ask, type AuditEntry } from '../api/client';
import { Plots, RangePicker, Totals, useFrom } from '../apps/metrics';
import { text } from '../text';
import { Variables } from '../ui/env';
import { Empty } from '../ui/empty';
import { Answer, Panel } from '../ui/panel';
import { useParam } from '../ui/params';
import { State } from '../ui/state';
import { DataTable, type Column } from '../ui/table';
import { bytes, exact, When } from '../ui/when';

/** Variables that every app gets. */
export function GlobalEnv() {
  const env = useQuery({ queryKey: ['env'], queryFn: ({ signal }) => ask(api.GET('/v1/env', { signal })) });
  return (
    <Panel title={text.admin.section.environment} note={text.admin.envNote}>
      <Answer of={env}>{({ items }) => <Variables items={items} save={(body) => ask(api.PATCH('/v1/env', { body }))} />}</Answer>
    </Panel>
  );
}

/** Whether every part of the platform is well. */
export function Health() {
  const health = useQuery({ queryKey: ['health'], queryFn: ({ signal }) => ask(api.GET('/v1/health', { signal })), refetchInterval: 10_000 });
  const me = useQuery({ queryKey: ['me'], queryFn: ({ signal }) => ask(api.GET('/v1/me', { signal })) });
  return (
    <Panel title={text.admin.section.health} note={me.data && text.admin.version(me.data.version)}>
      <Answer of={health}>
        {(h) => (
          <Stack gap={0}>
            {h.parts.map((p) => (
              <Group key={p.name} justify="space-between" className="row">
                <div className="grow">
                  <Text fw={600}>{p.name}</Text>
                  <Text size="sm" c="dimmed">
                    {p.detail}
                  </Text>
                </div>
                <State of={p.state} />
              </Group>
            ))}
          </Stack>
        )}
      </Answer>
    </Panel>
  );
}

interface Used {
  app: string;
  owner: string;
  requests: number;
  errors: number;
  viewers: number;
  cpu?: number;
  memory_bytes?: number;
  opened?: string;
}

const used: Column<Used>[] = [
  {
    id: 'app',
    header: text.apps.name,
    cell: (u) => (
      <Anchor component={Link} to={`/apps/${u.app}/metrics`}>
        {u.app}
      </Anchor>
    ),
  },
  { id: 'owner', header: text.apps.owner, cell: (u) => u.owner },
  { id: 'viewers', header: text.metrics.viewers, right: true, cell: (u) => u.viewers.toLocaleString() },
  { id: 'requests', header: text.metrics.requests, right: true, cell: (u) => u.requests.toLocaleString() },
  { id: 'errors', header: text.metrics.serverErrors, right: true, cell: (u) => u.errors.toLocaleString() },
  { id: 'memory', header: text.metrics.memory, right: true, cell: (u) => (u.memory_bytes === undefined ? '–' : bytes(u.memory_bytes)) },
  { id: 'opened', header: text.admin.opened, cell: (u) => <When at={u.opened} /> },
];

/** What all apps together are used for, and use. */
export function Usage() {
  const { span, from } = useFrom();
  const usage = useQuery({
    queryKey: ['usage', span],
    queryFn: ({ signal }) => ask(api.GET('/v1/usage', { signal, params: { query: { from: from() } } })),
    placeholderData: keepPreviousData,
    refetchInterval: 30_000,
  });
  return (
    <Stack>
      <RangePicker />
      <Answer of={usage} height={400}>
        {(u) => (
          <Stack>
            <Totals
              of={[
                [text.apps.title, u.app_count],
                [text.admin.people, u.people],
                [text.metrics.viewers, u.viewers],
                [text.metrics.requests, u.requests],
                [text.metrics.serverErrors, u.errors],
              ]}
            />
            <Plots points={u.points} deploys={[]} range={[u.from, u.to]} step={u.step_seconds} />
            {u.apps.length > 0 && (
              <Panel title={text.admin.byApp}>
                <DataTable label={text.admin.byApp} columns={used} rows={u.apps} keyOf={(a) => a.app} />
              </Panel>
            )}
          </Stack>
        )}
      </Answer>
    </Stack>
  );
}

const entries: Column<AuditEntry>[] = [
  { id: 'at', header: text.audit.at, cell: (e) => <span className="nowrap">{exact(e.at)}</span> },
  { id: 'actor', header: text.audit.actor, cell: (e) => e.actor },
  { id: 'verb', header: text.audit.verb, cell: (e) => <span className="mono nowrap">{e.verb}</span> },
  { id: 'object', header: text.audit.object, cell: (e) => <span className="long">{e.object}</span> },
  { id: 'detail', header: text.audit.detail, cell: (e) => <span className="long">{e.detail}</span> },
  { id: 'result', header: text.audit.result, cell: (e) => <State of={e.result} /> },
  { id: 'addr', header: text.audit.addr, cell: (e) => <span className="mono nowrap">{e.addr}</span> },
];

/** Who did what, when. */
export function Audit() {
  const [q, setQ] = useParam('q');
  const [actor, setActor] = useParam('actor');
  const [verb, setVerb] = useParam('verb');
  const [object, setObject] = useParam('object');
  const [filter] = useDebouncedValue(JSON.stringify({ q, actor, verb, object }), 250);
  const query = useMemo(() => Object.fromEntries(Object.entries(JSON.parse(filter) as Record<string, string>).filter(([, v]) => v !== '')), [filter]);
  const audit = useInfiniteQuery({
    queryKey: ['audit', query],
    initialPageParam: undefined as string | undefined,
    queryFn: ({ pageParam, signal }) => ask(api.GET('/v1/audit', { signal, params: { query: { limit: 50, ...query, ...(pageParam && { cursor: pageParam }) } } })),
    getNextPageParam: (last) => last.next,
    placeholderData: keepPreviousData,
  });
  const rows = useMemo(() => audit.data?.pages.flatMap((p) => p.items) ?? [], [audit.data]);
  return (
    <Panel
      title={text.admin.section.audit}
      actions={
        <Button component="a" variant="default" leftSection={<IconDownload size={18} />} href={`/v1/audit/export?${new URLSearchParams(query).toString()}`} download="audit.csv">
          {text.audit.export}
        </Button>
      }
    >
      <Group align="flex-end">
        <TextInput type="search" aria-label={text.audit.search} placeholder={text.audit.search} leftSection={<IconSearch size={18} />} value={q} onChange={(e) => setQ(e.currentTarget.value)} flex="2 1 12rem" />
        <TextInput aria-label={text.audit.actor} placeholder={text.audit.actor} value={actor} onChange={(e) => setActor(e.currentTarget.value)} flex="1 1 8rem" />
        <TextInput aria-label={text.audit.verb} placeholder={text.audit.verbLike} value={verb} onChange={(e) => setVerb(e.currentTarget.value)} flex="1 1 8rem" />
        <TextInput aria-label={text.audit.object} placeholder={text.audit.object} value={object} onChange={(e) => setObject(e.currentTarget.value)} flex="1 1 8rem" />
      </Group>
      <Answer of={audit}>
        {() => (rows.length === 0 ? <Empty title={text.portal.nothingHere} /> : <DataTable label={text.admin.section.audit} columns={entries} rows={rows} keyOf={(e) => String(e.seq)} />)}
      </Answer>
      {audit.hasNextPage && (
        <Center>
          <Button variant="default" onClick={() => void audit.fetchNextPage()} loading={audit.isFetchingNextPage}>
            {text.more}
          </Button>
        </Center>
      )}
    </Panel>
  );
}
