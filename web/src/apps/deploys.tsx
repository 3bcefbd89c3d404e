import { Anchor, Badge, Button, Center, Group, Stack, Text } from '@mantine/core';
import { useInfiniteQuery } from '@tanstack/react-query';
import { Link, useNavigate } from 'react-router';

import { api, ask, newKey, type Deploy } from '../api/client';
import { useAct } from '../api/query';
import { text } from '../text';
import { ConfirmButton } from '../ui/confirm';
import { Empty } from '../ui/empty';
import { Answer, Panel } from '../ui/panel';
import { State } from '../ui/state';
import { span, When } from '../ui/when';
import { at, useThis } from './app';
import { Upload } from './upload';
import { DeployUpstream } from './upstream';

const final = ['live', 'failed', 'rolled_back', 'canceled', 'superseded'];
export const isFinal = (d: Deploy) => final.includes(d.state);

export const useDeploys = (name: string) =>
  useInfiniteQuery({
    queryKey: ['app', name, 'deploys'],
    initialPageParam: undefined as string | undefined,
    queryFn: ({ pageParam, signal }) =>
      ask(api.GET('/v1/apps/{name}/deploys', { signal, params: { ...at(name), query: { limit: 25, ...(pageParam && { cursor: pageParam }) } } })),
    getNextPageParam: (last) => last.next,
    refetchInterval: (q) => (q.state.data?.pages[0]?.items.every(isFinal) === false ? 2000 : 10_000),
  });

export const rollBack = (name: string, release: number) =>
  ask(api.POST('/v1/apps/{name}/rollback', { params: { ...at(name), header: newKey() }, body: { release } }));

/** One deploy in a list. */
export function DeployRow({ deploy: d, current, back }: { deploy: Deploy; current: number | undefined; back?: (release: number) => Promise<Deploy> }) {
  const go = useNavigate();
  const live = d.state === 'live' && d.release !== undefined;
  return (
    <Group justify="space-between" gap="sm" className="row" wrap="wrap">
      <div className="grow">
        <Group gap="xs">
          <Anchor component={Link} to={`/apps/${d.app}/deploys/${d.id}`} fw={600} c="var(--mantine-color-text)">
            {d.message?.split('\n')[0] ?? text.causes[d.cause] ?? d.cause}
          </Anchor>
          <State of={d.state} />
          {live && d.release === current && (
            <Badge variant="outline" tt="none" color="gray" c="var(--mantine-color-text)">
              {text.deploys.current}
            </Badge>
          )}
        </Group>
        <Text size="sm" c="dimmed">
          {d.release ? `v${d.release} · ` : ''}
          {text.causes[d.cause] ?? d.cause} {text.portal.by(d.by)} · <When at={d.started} /> · {span(d.started, d.ended)}
          {d.commit ? (
            <>
              {' · '}
              <span className="mono">{d.commit.slice(0, 8)}</span>
            </>
          ) : null}
        </Text>
        {d.reason !== undefined && d.reason !== '' && (
          <Text size="sm" className="reason">
            {d.reason}
          </Text>
        )}
      </div>
      <Group gap="xs">
        {live && d.release !== 1 && (
          <Button component={Link} to={`/apps/${d.app}/compare?to=${d.release}`} variant="subtle" size="compact-md" aria-label={text.deploys.compareOf(d.release ?? 0)}>
            {text.deploys.compare}
          </Button>
        )}
        {back !== undefined && live && d.release !== current && (
          <ConfirmButton
            label={text.deploys.back}
            aria={text.deploys.backTo(d.release ?? 0)}
            title={text.deploys.backTo(d.release ?? 0)}
            what={text.deploys.backWhat}
            danger={false}
            button={{ size: 'compact-md' }}
            act={async () => go(`/apps/${d.app}/deploys/${(await back(d.release ?? 0)).id}`)}
            done={text.deploys.begun}
          />
        )}
      </Group>
    </Group>
  );
}

/** Every attempt to make a release, newest first. */
export function Deploys() {
  const app = useThis();
  const deploys = useDeploys(app.name);
  const go = useNavigate();
  const restart = useAct<undefined, Deploy>({
    act: () => ask(api.POST('/v1/apps/{name}/restart', { params: at(app.name) })),
    done: text.deploys.begun,
    then: (d) => go(`/apps/${app.name}/deploys/${d.id}`),
  });
  return (
    <Stack>
      <Panel
        title={text.deploys.title}
        note={text.deploys.note}
        actions={
          app.current_release !== undefined && (
            <Button variant="default" onClick={() => restart.mutate(undefined)} loading={restart.isPending}>
              {text.deploys.restart}
            </Button>
          )
        }
      >
        <Answer of={deploys}>
          {(data) => {
            const items = data.pages.flatMap((p) => p.items);
            if (items.length === 0) return <Empty title={text.deploys.none}>{text.deploys.noneWhy}</Empty>;
            return (
              <Stack gap={0}>
                {items.map((d) => (
                  <DeployRow key={d.id} deploy={d} current={app.current_release} back={(n) => rollBack(app.name, n)} />
                ))}
              </Stack>
            );
          }}
        </Answer>
        {deploys.hasNextPage && (
          <Center>
            <Button variant="default" onClick={() => void deploys.fetchNextPage()} loading={deploys.isFetchingNextPage}>
              {text.more}
            </Button>
          </Center>
        )}
      </Panel>
      {app.upstream !== undefined && <DeployUpstream name={app.name} upstream={app.upstream} />}
      <Panel title={text.upload.title}>
        <Upload name={app.name} />
      </Panel>
    </Stack>
  );
}
