import { Button, Center, Skeleton, SimpleGrid, Stack, Text, TextInput } from '@mantine/core';
import { useDebouncedValue } from '@mantine/hooks';
import { IconSearch } from '@tabler/icons-react';
import { keepPreviousData, useInfiniteQuery } from '@tanstack/react-query';
import { Link } from 'react-router';

import { api, ask, type App } from '../api/client';
import { useRoles } from '../api/query';
import { text } from '../text';
import { Empty } from '../ui/empty';
import { Page } from '../ui/page';
import { useParam } from '../ui/params';
import { ProblemBox } from '../ui/problem';
import { State } from '../ui/state';
import { Tile } from '../ui/tile';
import css from './portal.module.css';

function Card({ app }: { app: App }) {
  const label = app.title ?? app.name;
  return (
    <li className={css.card}>
      <div className={css.head}>
        <Tile name={app.name} label={label} size={44} />
        {app.state !== 'running' && <State of={app.state} />}
      </div>
      <h2 className={css.name}>
        <a href={app.url}>{label}</a>
      </h2>
      <p className={css.about}>{app.description}</p>
      <p className={css.by}>
        {text.portal.by(app.owner)} · <span className="mono">{app.name}</span>
      </p>
    </li>
  );
}

/** The apps that this person may open. */
export function Portal() {
  const [q, setQ] = useParam('q');
  const [query] = useDebouncedValue(q.trim(), 150);
  const roles = useRoles();
  const apps = useInfiniteQuery({
    queryKey: ['apps', 'portal', query],
    initialPageParam: undefined as string | undefined,
    queryFn: ({ pageParam, signal }) =>
      ask(api.GET('/v1/apps', { signal, params: { query: { portal: true, limit: 60, ...(query && { q: query }), ...(pageParam && { cursor: pageParam }) } } })),
    getNextPageParam: (last) => last.next,
    placeholderData: keepPreviousData,
    refetchInterval: 15_000,
  });
  const items = apps.data?.pages.flatMap((p) => p.items) ?? [];
  return (
    <Page
      title={text.portal.title}
      window={text.portal.title}
      actions={
        <TextInput
          type="search"
          aria-label={text.portal.search}
          placeholder={text.portal.search}
          leftSection={<IconSearch size={18} />}
          value={q}
          onChange={(e) => setQ(e.currentTarget.value)}
          w={{ base: '100%', xs: 320 }}
        />
      }
    >
      {apps.error !== null && <ProblemBox error={apps.error} retry={apps.refetch} />}
      {apps.isPending && (
        <SimpleGrid cols={{ base: 1, xs: 2, md: 3, lg: 4 }} aria-hidden>
          {Array.from({ length: 8 }, (_, i) => (
            <Skeleton key={i} height={190} radius="lg" />
          ))}
        </SimpleGrid>
      )}
      {items.length > 0 && (
        <ul className={css.cards} aria-label={text.portal.title}>
          {items.map((app) => (
            <Card key={app.id} app={app} />
          ))}
        </ul>
      )}
      {apps.hasNextPage && (
        <Center>
          <Button variant="default" onClick={() => void apps.fetchNextPage()} loading={apps.isFetchingNextPage}>
            {text.more}
          </Button>
        </Center>
      )}
      {apps.isSuccess && items.length === 0 && <None query={query} licensed={roles.licensed} name={roles.name} clear={() => setQ('')} />}
    </Page>
  );
}

function None({ query, licensed, name, clear }: { query: string; licensed: boolean; name: string; clear: () => void }) {
  if (query !== '') {
    return (
      <Empty title={text.portal.nothing(query)}>
        <Text c="dimmed">{text.portal.onlyYours}</Text>
        <Button variant="default" mt="sm" onClick={clear}>
          {text.portal.all}
        </Button>
      </Empty>
    );
  }
  return (
    <Empty title={text.portal.none}>
      <Stack gap="sm" align="center">
        <Text c="dimmed">{text.portal.noneWhy(name)}</Text>
        {licensed && (
          <Button component={Link} to="/apps/new">
            {text.apps.new}
          </Button>
        )}
      </Stack>
    </Empty>
  );
}
