import { Anchor, Button, Center, Group, Select, Skeleton, Text, TextInput } from '@mantine/core';
import { useDebouncedValue } from '@mantine/hooks';
import { IconPlus, IconSearch } from '@tabler/icons-react';
import { keepPreviousData, useQuery } from '@tanstack/react-query';
import { useMemo, useState } from 'react';
import { Link } from 'react-router';

import { api, ask, type App } from '../api/client';
import type { operations } from '../api/gen';
import { useAct, useRoles } from '../api/query';
import { text } from '../text';
import { ConfirmButton } from '../ui/confirm';
import { Empty } from '../ui/empty';
import { Page } from '../ui/page';
import { useParam } from '../ui/params';
import { ProblemBox } from '../ui/problem';
import { State } from '../ui/state';
import { DataTable, type Column } from '../ui/table';
import { Tile } from '../ui/tile';
import { When } from '../ui/when';

type Sort = NonNullable<NonNullable<operations['list-apps']['parameters']['query']>['sort']>;

const columns: Column<App>[] = [
  {
    id: 'name',
    header: text.apps.name,
    sort: 'name',
    cell: (app) => (
      <Group gap="sm" wrap="nowrap">
        <Tile name={app.name} label={app.title ?? app.name} size={34} />
        <div>
          <Anchor component={Link} to={`/apps/${app.name}`} fw={600} c="var(--mantine-color-text)">
            {app.title ?? app.name}
          </Anchor>
          <Text size="xs" c="dimmed" className="mono">
            {app.name}
          </Text>
        </div>
      </Group>
    ),
  },
  { id: 'state', header: text.apps.state, sort: 'state', cell: (app) => <State of={app.state} /> },
  { id: 'owner', header: text.apps.owner, sort: 'owner', cell: (app) => app.owner },
  { id: 'access', header: text.apps.access, cell: (app) => text.levels[app.access] ?? app.access },
  { id: 'release', header: text.apps.release, cell: (app) => (app.current_release ? `v${app.current_release}` : '–') },
  { id: 'updated', header: text.apps.updated, sort: 'updated', cell: (app) => <When at={app.updated} /> },
];

/** Does one thing to many apps, one after the other, and says which did not go. */
async function each(names: Iterable<string>, act: (name: string) => Promise<unknown>) {
  const failed: string[] = [];
  for (const name of names) {
    await act(name).catch((e: unknown) => failed.push(`${name}: ${e instanceof Error ? e.message : String(e)}`));
  }
  if (failed.length > 0) throw new Error(failed.join(' '));
}

const path = (name: string) => ({ params: { path: { name } } });

function Bulk({ names, clear }: { names: ReadonlySet<string>; clear: () => void }) {
  const act = useAct<(name: string) => Promise<unknown>>({ act: (fn) => each(names, fn), done: text.apps.bulkDone(names.size), then: clear });
  return (
    <Group gap="sm" role="group" aria-label={text.apps.bulk}>
      <Text size="sm" fw={600}>
        {text.apps.picked(names.size)}
      </Text>
      <Button size="compact-md" variant="default" loading={act.isPending} onClick={() => act.mutate((name) => ask(api.POST('/v1/apps/{name}/restart', path(name))))}>
        {text.app.restart}
      </Button>
      <ConfirmButton
        label={text.app.pause}
        title={text.apps.pauseMany(names.size)}
        what={text.app.pauseWhat}
        button={{ size: 'compact-md' }}
        danger={false}
        act={() => each(names, (name) => ask(api.POST('/v1/apps/{name}/pause', path(name))))}
        done={text.apps.bulkDone(names.size)}
        then={clear}
      />
      <Button size="compact-md" variant="default" loading={act.isPending} onClick={() => act.mutate((name) => ask(api.POST('/v1/apps/{name}/resume', path(name))))}>
        {text.app.resume}
      </Button>
    </Group>
  );
}

/** The apps that one looks after, or all of them for an administrator. */
export function AppList() {
  const [q, setQ] = useParam('q');
  const [state, setState] = useParam('state');
  const [access, setAccess] = useParam('access');
  const [owner, setOwner] = useParam('owner');
  const [sort, setSort] = useParam('sort', 'name');
  const [cursor, setCursor] = useParam('after');
  const [query] = useDebouncedValue(q.trim(), 200);
  const [picked, setPicked] = useState<ReadonlySet<string>>(new Set());
  const roles = useRoles();
  const narrowed = query !== '' || state !== '' || access !== '' || owner !== '';
  const apps = useQuery({
    queryKey: ['apps', query, state, access, owner, sort, cursor],
    placeholderData: keepPreviousData,
    refetchInterval: 15_000,
    queryFn: ({ signal }) =>
      ask(
        api.GET('/v1/apps', {
          signal,
          params: {
            query: {
              limit: 50,
              sort: sort as Sort,
              ...(query && { q: query }),
              ...(state && { state: [state] }),
              ...(access && { access: [access] }),
              ...(owner === 'orphans' ? { orphans: true } : owner === 'me' && { owner: roles.name }),
              ...(cursor && { cursor }),
            },
          },
        }),
      ),
  });
  const items = useMemo(() => apps.data?.items ?? [], [apps.data]);
  return (
    <Page
      title={text.apps.title}
      window={text.apps.title}
      aside={apps.data?.total !== undefined && <Text c="dimmed">{apps.data.total}</Text>}
      actions={
        roles.create && (
          <Button component={Link} to="/apps/new" leftSection={<IconPlus size={18} />}>
            {text.apps.new}
          </Button>
        )
      }
    >
      <Group gap="sm" align="flex-end">
        <TextInput
          type="search"
          aria-label={text.portal.search}
          placeholder={text.portal.search}
          leftSection={<IconSearch size={18} />}
          value={q}
          onChange={(e) => setQ(e.currentTarget.value)}
          flex="1 1 14rem"
        />
        <Select
          aria-label={text.apps.state}
          placeholder={text.apps.anyState}
          clearable
          value={state || null}
          onChange={(v) => setState(v ?? '')}
          data={['running', 'starting', 'crashed', 'paused', 'empty'].map((value) => ({ value, label: (text.states as Record<string, string>)[value] ?? value }))}
          flex="1 1 8rem"
          maw={170}
        />
        <Select
          aria-label={text.apps.access}
          placeholder={text.apps.anyAccess}
          clearable
          value={access || null}
          onChange={(v) => setAccess(v ?? '')}
          data={Object.entries(text.levels).map(([value, label]) => ({ value, label }))}
          flex="1 1 8rem"
          maw={190}
        />
        <Select
          aria-label={text.apps.owner}
          placeholder={text.apps.anyOwner}
          clearable
          value={owner || null}
          onChange={(v) => setOwner(v ?? '')}
          data={[{ value: 'me', label: text.apps.mine }, ...(roles.admin ? [{ value: 'orphans', label: text.apps.orphans }] : [])]}
          flex="1 1 8rem"
          maw={170}
        />
      </Group>
      {picked.size > 0 && <Bulk names={picked} clear={() => setPicked(new Set())} />}
      {apps.error !== null && <ProblemBox error={apps.error} retry={apps.refetch} />}
      {apps.isPending && <Skeleton height={320} radius="lg" />}
      {items.length > 0 && (
        <DataTable label={text.apps.title} columns={columns} rows={items} keyOf={(a) => a.name} sort={[sort, setSort]} picked={[picked, setPicked]} />
      )}
      {apps.isSuccess && items.length === 0 && (
        <Empty title={narrowed ? text.portal.nothingHere : text.portal.none}>
          <Text c="dimmed">{narrowed ? text.apps.widen : text.apps.noneWhy}</Text>
          {narrowed ? (
            <Button variant="default" component={Link} to="/apps">
              {text.portal.all}
            </Button>
          ) : (
            roles.create && (
              <Button component={Link} to="/apps/new">
                {text.apps.new}
              </Button>
            )
          )}
        </Empty>
      )}
      {(cursor !== '' || apps.data?.next !== undefined) && (
        <Center>
          <Group>
            <Button variant="default" disabled={cursor === ''} onClick={() => setCursor('')}>
              {text.table.first}
            </Button>
            <Button variant="default" disabled={apps.data?.next === undefined} onClick={() => setCursor(apps.data?.next ?? '')}>
              {text.table.next}
            </Button>
          </Group>
        </Center>
      )}
    </Page>
  );
}
