import { Alert, Group, Select, Stack, Table, Text } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';

import { api, ask, type Comparison } from '../api/client';
import { text } from '../text';
import { Answer, Panel } from '../ui/panel';
import { useParam } from '../ui/params';
import { When } from '../ui/when';
import { at, useThis } from './app';

function Differences({ title, of }: { title: string; of: Comparison['env'] }) {
  return (
    <Panel title={title}>
      {of.length === 0 ? (
        <Text c="dimmed">{text.compare.same}</Text>
      ) : (
        <Table aria-label={title}>
          <Table.Tbody>
            {of.map((d) => (
              <Table.Tr key={d.name}>
                <Table.Td className="mono">{d.name}</Table.Td>
                <Table.Td>{text.compare.changes[d.change] ?? d.change}</Table.Td>
                <Table.Td className="mono">{[d.from, d.to].filter(Boolean).join(' → ')}</Table.Td>
              </Table.Tr>
            ))}
          </Table.Tbody>
        </Table>
      )}
    </Panel>
  );
}

/** What differs between two releases. */
export function Compare() {
  const app = useThis();
  const [to, setTo] = useParam('to', String(app.current_release ?? 1));
  const [from, setFrom] = useParam('from');
  const releases = useQuery({
    queryKey: ['app', app.name, 'releases'],
    queryFn: ({ signal }) => ask(api.GET('/v1/apps/{name}/releases', { signal, params: { ...at(app.name), query: { limit: 100 } } })),
  });
  const older = from || String(Math.max(1, Number(to) - 1));
  const compared = useQuery({
    queryKey: ['app', app.name, 'compare', older, to],
    queryFn: ({ signal }) =>
      ask(api.GET('/v1/apps/{name}/releases/{n}/compare', { signal, params: { path: { name: app.name, n: Number(to) }, query: { with: Number(older) } } })),
    enabled: older !== to,
  });
  const choices = (releases.data?.items ?? []).map((r) => ({ value: String(r.n), label: `v${r.n} ${r.message?.split('\n')[0] ?? ''}` }));
  return (
    <Stack>
      <Group align="flex-end">
        <Select label={text.compare.from} data={choices} value={older} onChange={(v) => setFrom(v ?? '')} allowDeselect={false} w={280} />
        <Select label={text.compare.to} data={choices} value={to} onChange={(v) => setTo(v ?? '')} allowDeselect={false} w={280} />
      </Group>
      {older === to ? (
        <Alert>{text.compare.choose}</Alert>
      ) : (
        <Answer of={compared}>
          {(c) => (
            <Stack>
              {c.same_source === true && c.same_environment === true && <Alert>{text.compare.files}</Alert>}
              <Panel title={text.compare.commits}>
                {c.commits.length === 0 ? (
                  <Text c="dimmed">{text.compare.noCommits}</Text>
                ) : (
                  <Stack gap="xs">
                    {c.commits.map((k) => (
                      <div key={k.id}>
                        <Text fw={550}>{k.subject}</Text>
                        <Text size="sm" c="dimmed">
                          <span className="mono">{k.id.slice(0, 8)}</span> · {k.author} · <When at={k.at} />
                        </Text>
                      </div>
                    ))}
                  </Stack>
                )}
              </Panel>
              <Differences title={text.compare.dependencies} of={c.dependencies} />
              <Differences title={text.compare.env} of={c.env} />
              <Differences title={text.compare.processes} of={c.processes} />
            </Stack>
          )}
        </Answer>
      )}
    </Stack>
  );
}

