import { Anchor, Button, Group, SimpleGrid, Stack, Text } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { Link } from 'react-router';

import { api, ask } from '../api/client';
import { text } from '../text';
import { Copy } from '../ui/copy';
import { Answer, Facts, Panel } from '../ui/panel';
import { State } from '../ui/state';
import { bytes, When } from '../ui/when';
import { at, useThis } from './app';
import { DeployRow, useDeploys } from './deploys';
import { Code } from './new';

export const useProcesses = (name: string) =>
  useQuery({
    queryKey: ['app', name, 'processes'],
    queryFn: ({ signal }) => ask(api.GET('/v1/apps/{name}/processes', { signal, params: at(name) })),
    refetchInterval: 5000,
  });

function Remote({ of, label }: { of: string; label: string }) {
  return (
    <Group gap={4} wrap="nowrap">
      <span className="mono">{of}</span>
      <Copy value={of} label={label} />
    </Group>
  );
}

/** How an app is, at one look. */
export function Overview() {
  const app = useThis();
  const processes = useProcesses(app.name);
  const deploys = useDeploys(app.name);
  if (!app.current_release && deploys.data?.pages[0]?.items.length === 0) return <Code app={app} />;
  return (
    <Stack>
      <SimpleGrid cols={{ base: 1, md: 2 }}>
        <Panel title={text.app.about}>
          <Facts
            of={[
              [
                text.app.address,
                <Group key="a" gap={4} wrap="nowrap">
                  <Anchor href={app.url} className="mono">
                    {app.url}
                  </Anchor>
                  <Copy value={app.url} label={text.app.copyAddress} />
                </Group>,
              ],
              [
                text.app.remote,
                <Stack key="g" gap={0}>
                  <Remote of={app.git_remote} label={text.app.copyRemote} />
                  {app.git_ssh !== undefined && <Remote of={app.git_ssh} label={text.app.copyRemoteSSH} />}
                </Stack>,
              ],
              [text.apps.release, app.current_release ? `v${app.current_release}` : text.states.empty],
              [text.apps.access, text.levels[app.access] ?? app.access],
              [text.apps.owner, app.owner],
              [text.app.created, <When key="c" at={app.created} />],
            ]}
          />
        </Panel>
        <Panel title={text.app.tab.processes ?? ''} actions={<Anchor component={Link} to="processes">{text.app.manage}</Anchor>}>
          <Answer of={processes}>
            {({ items }) =>
              items.length === 0 ? (
                <Text c="dimmed">{text.processes.none}</Text>
              ) : (
                <Stack gap="sm">
                  {items.map((p) => (
                    <Group key={p.name} justify="space-between">
                      <div>
                        <Text fw={600}>{p.name}</Text>
                        <Text size="xs" c="dimmed" className="mono">
                          {p.command}
                        </Text>
                      </div>
                      <Group gap="xs">
                        {p.instances.map((r) => (
                          <State key={r.index} of={r.state} />
                        ))}
                        <Text size="sm" c="dimmed">
                          {bytes(p.instances.reduce((sum, r) => sum + (r.memory_bytes ?? 0), 0))}
                        </Text>
                      </Group>
                    </Group>
                  ))}
                </Stack>
              )
            }
          </Answer>
        </Panel>
      </SimpleGrid>
      <Panel title={text.deploys.recent} actions={<Button component={Link} to="deploys" variant="default" size="compact-md">{text.deploys.all}</Button>}>
        <Answer of={deploys}>
          {(d) => (
            <Stack gap="xs">
              {(d.pages[0]?.items ?? []).slice(0, 4).map((deploy) => (
                <DeployRow key={deploy.id} deploy={deploy} current={app.current_release} />
              ))}
            </Stack>
          )}
        </Answer>
      </Panel>
    </Stack>
  );
}
