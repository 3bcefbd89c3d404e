import { Anchor, Button, Group, Stack, Text, Title } from '@mantine/core';
import { IconExternalLink } from '@tabler/icons-react';
import { useQuery } from '@tanstack/react-query';
import { useEffect } from 'react';
import { Link, Outlet, useOutletContext, useParams } from 'react-router';

import { api, ask, type App } from '../api/client';
import { asProblem, isLeaving, left } from '../api/query';
import { NotFound } from '../shell/notfound';
import { text } from '../text';
import { useTitle } from '../ui/page';
import { Answer } from '../ui/panel';
import { Sections } from '../ui/sections';
import { State } from '../ui/state';
import { Tile } from '../ui/tile';

export const at = (name: string) => ({ path: { name } });

export const useApp = (name: string) =>
  useQuery({
    queryKey: ['app', name],
    queryFn: ({ signal, client }) => {
      const known = isLeaving(name) ? client.getQueryData<App>(['app', name]) : undefined;
      return known ?? ask(api.GET('/v1/apps/{name}', { signal, params: at(name) }));
    },
    refetchInterval: 10_000,
  });

/** The app whose tab this is. */
export const useThis = () => useOutletContext<App>();

const tabs = ['', 'deploys', 'logs', 'metrics', 'access', 'environment', 'processes', 'files', 'portal', 'settings'] as const;

/** What is around every tab of an app. */
export function AppLayout() {
  const { name = '' } = useParams();
  const app = useApp(name);
  useTitle(app.data?.title ?? name);
  useEffect(() => () => left(name), [name]);
  if (app.error !== null && asProblem(app.error).kind === 'not_found') return <NotFound />;
  return (
    <Answer of={app} height={320}>
      {(a) => (
        <Stack gap="lg">
          <div>
            <Anchor component={Link} to="/apps" size="sm" c="dimmed">
              ← {text.apps.title}
            </Anchor>
            <Group justify="space-between" mt={6}>
              <Group gap="md" wrap="nowrap">
                <Tile name={a.name} label={a.title ?? a.name} size={48} />
                <div>
                  <Group gap="sm">
                    <Title order={1} size="h2">
                      {a.title ?? a.name}
                    </Title>
                    <State of={a.state} />
                  </Group>
                  <Text size="sm" c="dimmed">
                    <span className="mono">{a.name}</span> · {text.portal.by(a.owner)}
                  </Text>
                </div>
              </Group>
              {a.current_release !== undefined && (
                <Button component="a" href={a.url} variant="default" rightSection={<IconExternalLink size={18} />}>
                  {text.app.open}
                </Button>
              )}
            </Group>
          </div>
          <Sections label={text.app.tabs} of={tabs.map((tab) => ({ to: tab || '.', end: tab === '', name: text.app.tab[tab || 'overview'] }))} />
          <Outlet context={a satisfies App} />
        </Stack>
      )}
    </Answer>
  );
}
