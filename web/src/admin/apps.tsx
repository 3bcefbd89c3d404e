import { Anchor, Button, Group, Stack, Switch, Text, TextInput } from '@mantine/core';
import { IconSearch } from '@tabler/icons-react';
import { useDebouncedValue } from '@mantine/hooks';
import { keepPreviousData, useQuery } from '@tanstack/react-query';
import { useMemo, useState } from 'react';
import { Link } from 'react-router';

import { api, ask, type App } from '../api/client';
import { PersonPicker } from '../apps/access';
import { text } from '../text';
import { ConfirmButton } from '../ui/confirm';
import { Empty } from '../ui/empty';
import { Answer, Panel } from '../ui/panel';
import { useParam } from '../ui/params';
import { DataTable, type Column } from '../ui/table';

const columns: Column<App>[] = [
  {
    id: 'name',
    header: text.apps.name,
    cell: (a) => (
      <Anchor component={Link} to={`/apps/${a.name}/settings`}>
        {a.title ?? a.name}
      </Anchor>
    ),
  },
  { id: 'owner', header: text.apps.owner, cell: (a) => a.owner },
  { id: 'access', header: text.apps.access, cell: (a) => text.levels[a.access] ?? a.access },
];

/** Whose apps are whose, and giving them to others: one, many, or those that nobody looks after. */
export function AdminApps() {
  const [q, setQ] = useParam('q');
  const [orphans, setOrphans] = useParam('orphans');
  const [query] = useDebouncedValue(q.trim(), 200);
  const [picked, setPicked] = useState<ReadonlySet<string>>(new Set());
  const [to, setTo] = useState('');
  const apps = useQuery({
    queryKey: ['apps', 'owners', query, orphans],
    queryFn: ({ signal }) => ask(api.GET('/v1/apps', { signal, params: { query: { limit: 200, sort: 'owner', ...(query && { q: query }), ...(orphans && { orphans: true }) } } })),
    placeholderData: keepPreviousData,
  });
  const items = useMemo(() => apps.data?.items ?? [], [apps.data]);
  const give = async () => {
    for (const name of picked) await ask(api.POST('/v1/apps/{name}/transfer', { params: { path: { name } }, body: { to: to.trim() } }));
  };
  return (
    <Panel title={text.admin.section.apps} note={text.admin.appsNote}>
      <Group>
        <TextInput type="search" aria-label={text.portal.search} placeholder={text.portal.search} leftSection={<IconSearch size={18} />} value={q} onChange={(e) => setQ(e.currentTarget.value)} flex="1 1 12rem" maw={360} />
        <Switch label={text.apps.orphans} checked={orphans !== ''} onChange={(e) => setOrphans(e.currentTarget.checked ? 'only' : '')} />
      </Group>
      {picked.size > 0 && (
        <Group align="flex-end" role="group" aria-label={text.apps.bulk}>
          <PersonPicker app={[...picked][0] ?? ''} label={text.settings.newOwner} value={to} onChange={setTo} />
          <ConfirmButton
            label={text.settings.transferDo}
            title={text.admin.giveMany(picked.size, to)}
            what={
              <Stack gap="xs">
                <Text>{text.settings.transferWhat(to)}</Text>
                <Text size="sm" className="mono">
                  {[...picked].join(', ')}
                </Text>
              </Stack>
            }
            button={{ disabled: to.trim() === '' }}
            act={give}
            done={text.apps.bulkDone(picked.size)}
            then={() => setPicked(new Set())}
          />
          <Button variant="subtle" onClick={() => setPicked(new Set())}>
            {text.cancel}
          </Button>
        </Group>
      )}
      <Answer of={apps}>
        {() =>
          items.length === 0 ? (
            <Empty title={orphans ? text.admin.noOrphans : text.portal.nothingHere} />
          ) : (
            <DataTable label={text.admin.section.apps} columns={columns} rows={items} keyOf={(a) => a.name} picked={[picked, setPicked]} />
          )
        }
      </Answer>
    </Panel>
  );
}
