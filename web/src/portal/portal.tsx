import { Button, Center, Chip, Group, SegmentedControl, SimpleGrid, Skeleton, Stack, Text, TextInput, ActionIcon } from '@mantine/core';
import { useDebouncedValue } from '@mantine/hooks';
import { IconSearch, IconStar, IconStarFilled } from '@tabler/icons-react';
import { keepPreviousData, useInfiniteQuery } from '@tanstack/react-query';
import { memo, useEffect, useEffectEvent, useRef } from 'react';
import { Link } from 'react-router';

import { api, ask, type Card as CardData } from '../api/client';
import { useAct, useRoles } from '../api/query';
import { text } from '../text';
import { Empty } from '../ui/empty';
import { Page } from '../ui/page';
import { useParam } from '../ui/params';
import { ProblemBox } from '../ui/problem';
import { State } from '../ui/state';
import { Tile } from '../ui/tile';
import css from './portal.module.css';

const one = (name: string) => ({ params: { path: { name } } });

/** What comes after the list asks for more before it is reached. */
function End({ reached, busy }: { reached: () => void; busy: boolean }) {
  const end = useRef<HTMLDivElement>(null);
  const onReached = useEffectEvent(reached);
  useEffect(() => {
    if (end.current === null) return;
    const watch = new IntersectionObserver((seen) => seen.some((s) => s.isIntersecting) && onReached(), { rootMargin: '0px 0px 800px' });
    watch.observe(end.current);
    return () => watch.disconnect();
  }, []);
  return (
    <Center ref={end}>
      <Button variant="default" onClick={reached} loading={busy}>
        {text.more}
      </Button>
    </Center>
  );
}

const Card = memo(function Card({ app, pick }: { app: CardData; pick: (tag: string) => void }) {
  const label = app.title ?? app.name;
  const star = useAct<boolean>({
    act: (on) => ask(on ? api.PUT('/v1/portal/favourites/{name}', one(app.name)) : api.DELETE('/v1/portal/favourites/{name}', one(app.name))),
    touches: ['portal'],
  });
  const favourite = star.isPending ? star.variables : app.favourite === true;
  return (
    <li className={css.card}>
      {app.thumbnail === undefined ? (
        <div className={css.picture}>
          <Tile name={app.name} label={label} size={56} />
        </div>
      ) : (
        <img className={css.picture} src={app.thumbnail} alt="" loading="lazy" />
      )}
      <div className={css.marks}>
        {app.state !== 'running' && <State of={app.state} />}
        <ActionIcon variant="default" radius="md" aria-pressed={favourite} aria-label={text.portal.favourite(label)} onClick={() => star.mutate(!favourite)}>
          {favourite ? <IconStarFilled size={18} className={css.star} /> : <IconStar size={18} />}
        </ActionIcon>
      </div>
      <h2 className={css.name}>
        <a href={app.url}>{label}</a>
      </h2>
      <p className={css.about}>{app.description}</p>
      {app.tags.length > 0 && (
        <Group gap={6} mb="sm" className={css.above}>
          {app.tags.map((t) => (
            <button key={t} type="button" className={css.tag} onClick={() => pick(t)} aria-label={text.portal.onlyTag(t)}>
              {t}
            </button>
          ))}
        </Group>
      )}
      <p className={css.by}>
        {text.portal.by(app.contact ?? app.owner)} · <span className="mono">{app.name}</span>
      </p>
    </li>
  );
});

/** The apps that this person may open. */
export function Portal() {
  const [q, setQ] = useParam('q');
  const [tag, setTag] = useParam('tag');
  const [show, setShow] = useParam('show', 'all');
  const [query] = useDebouncedValue(q.trim(), 150);
  const roles = useRoles();
  const apps = useInfiniteQuery({
    queryKey: ['portal', query, tag, show],
    initialPageParam: undefined as string | undefined,
    queryFn: ({ pageParam, signal }) =>
      ask(
        api.GET('/v1/portal', {
          signal,
          params: {
            query: {
              limit: 60,
              ...(query && { q: query }),
              ...(tag && { tag: [tag] }),
              ...(show === 'favourites' && { favourites: true }),
              ...(show === 'recent' && { recent: true }),
              ...(pageParam && { cursor: pageParam }),
            },
          },
        }),
      ),
    getNextPageParam: (last) => last.next,
    placeholderData: keepPreviousData,
    refetchInterval: 30_000,
  });
  const items = apps.data?.pages.flatMap((p) => p.items) ?? [];
  const tags = apps.data?.pages[0]?.tags.slice(0, 12) ?? [];
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
      <Group justify="space-between" gap="sm">
        <SegmentedControl
          aria-label={text.portal.show}
          value={show}
          onChange={setShow}
          data={[
            { value: 'all', label: text.portal.everything },
            { value: 'favourites', label: text.portal.favourites },
            { value: 'recent', label: text.portal.recent },
          ]}
        />
        {(tags.length > 0 || tag !== '') && (
          <Group gap={6} role="group" aria-label={text.portal.tags}>
            {[...(tag !== '' && !tags.some((t) => t.tag === tag) ? [{ tag, count: 0 }] : []), ...tags].map((t) => (
              <Chip key={t.tag} size="xs" checked={t.tag === tag} onChange={(on) => setTag(on ? t.tag : '')}>
                {t.tag}
              </Chip>
            ))}
          </Group>
        )}
      </Group>
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
            <Card key={app.name} app={app} pick={setTag} />
          ))}
        </ul>
      )}
      {apps.hasNextPage && <End key={apps.data?.pages.length} reached={() => void apps.fetchNextPage()} busy={apps.isFetchingNextPage} />}
      {apps.isSuccess && items.length === 0 && (
        <None
          query={query}
          narrowed={tag !== '' || show !== 'all'}
          show={show}
          create={roles.create}
          name={roles.name}
        />
      )}
    </Page>
  );
}

function None({ query, narrowed, show, create, name }: { query: string; narrowed: boolean; show: string; create: boolean; name: string }) {
  if (query !== '' || narrowed) {
    return (
      <Empty title={query !== '' ? text.portal.nothing(query) : text.portal.nothingHere}>
        <Text c="dimmed">{show === 'favourites' ? text.portal.noFavourites : show === 'recent' ? text.portal.noRecent : text.portal.onlyYours}</Text>
        <Button variant="default" mt="sm" component={Link} to="/portal">
          {text.portal.all}
        </Button>
      </Empty>
    );
  }
  return (
    <Empty title={text.portal.none}>
      <Stack gap="sm" align="center">
        <Text c="dimmed">{text.portal.noneWhy(name)}</Text>
        {create && (
          <Button component={Link} to="/apps/new">
            {text.apps.new}
          </Button>
        )}
      </Stack>
    </Empty>
  );
}
