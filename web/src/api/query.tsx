import { Button, Text } from '@mantine/core';
import { notifications } from '@mantine/notifications';
import { QueryClient, useMutation, useQuery, type UseMutationResult } from '@tanstack/react-query';

import { text } from '../text';
import { api, ask, Problem, type Change } from './client';
import { useStream } from './stream';

export const queries = new QueryClient({
  defaultOptions: {
    queries: {
      // A platform that starts again is waited for; anything else is shown.
      retry: (n, error) => error instanceof Problem && error.passing && n < 60,
      retryDelay: (n) => Math.min(500 * 2 ** n, 5000),
      staleTime: 2000,
    },
    mutations: { retry: false },
  },
});

/** Who is signed in, and what the platform shows them. */
export const useMe = () => useQuery({ queryKey: ['me'], queryFn: ({ signal }) => ask(api.GET('/v1/me', { signal })), staleTime: 60_000 });

export function useRoles() {
  const me = useMe();
  const may = (what: string) => me.data?.features.includes(what) ?? false;
  return { name: me.data?.user.name ?? '', apps: may('apps'), create: may('create'), admin: may('admin') };
}

// Apps that are being deleted: nothing asks for them any more, for it would only be told that they are not found.
const leaving = new Set<string>();
export const isLeaving = (app: string) => leaving.has(app);

/** Deletes an app whose pages are open, and leaves them. */
export async function leave(app: string, act: () => Promise<unknown>) {
  leaving.add(app);
  try {
    await queries.cancelQueries({ queryKey: ['app', app] });
    await act();
  } catch (error) {
    leaving.delete(app);
    throw error;
  }
}

/** No page of the app is open any more: if it was deleted, one of that name may be made anew. */
export function left(app: string) {
  if (leaving.delete(app)) queries.removeQueries({ queryKey: ['app', app] });
}

/** Makes everything under a key ask again. */
const again = (...queryKey: readonly unknown[]) =>
  queries.invalidateQueries({ queryKey, predicate: ({ queryKey: [kind, name] }) => kind !== 'app' || typeof name !== 'string' || !isLeaving(name) });

/** Gathers what is to be asked again: the first at once, then once a second, however much changes. */
function gatherer() {
  const due = new Map<string, string[]>();
  let resting = false;
  const flush = () => {
    resting = due.size > 0;
    if (resting) setTimeout(flush, 1000);
    for (const key of due.values()) void again(...key);
    due.clear();
  };
  return (...keys: string[][]) => {
    for (const key of keys) due.set(key.join('/'), key);
    if (!resting) flush();
  };
}
const changed = gatherer();

/** Makes everything that changed ask again, as the platform tells it. */
export function useChanges() {
  useStream<Change>('/v1/events', (change) => {
    if (change.kind === 'reset') changed([]);
    if (change.kind === 'platform') changed(['me']);
    if (change.kind === 'app' || change.kind === 'deploy') changed(['apps'], ['portal'], ...(change.app === undefined ? [] : [['app', change.app]]));
  });
}

export const asProblem = (e: unknown): Problem =>
  e instanceof Problem ? e : new Problem('internal', e instanceof Error ? e.message : String(e));

/**
 * A change: says what was done, and makes everything that it touches ask again.
 * Where no form shows the problem, it is a notice, which offers to try again
 * what may go well a moment later.
 */
export function useAct<In, Out = unknown>(o: {
  act: (input: In) => Promise<Out>;
  done?: string | ((out: Out, input: In) => string);
  touches?: readonly unknown[];
  inForm?: boolean;
  then?: (out: Out, input: In) => unknown;
}) {
  const mutation: UseMutationResult<Out, Error, In> = useMutation<Out, Error, In>({
    mutationFn: o.act,
    onSuccess: async (out, input) => {
      await again(...(o.touches ?? []));
      // Once the page shows it.
      if (o.done !== undefined) {
        notifications.show({ color: 'teal', message: typeof o.done === 'function' ? o.done(out, input) : o.done });
      }
      await o.then?.(out, input);
    },
    onError: (error, input) => {
      if (o.inForm) return;
      const p = asProblem(error);
      const fields = Object.values(p.fields).join(' ');
      const notice = crypto.randomUUID();
      const again = () => {
        notifications.hide(notice);
        mutation.mutate(input);
      };
      notifications.show({
        id: notice,
        color: 'red',
        autoClose: p.passing ? false : 12_000,
        title: text.problem.title(p.kind),
        message: (
          <>
            <Text size="sm" c="var(--mantine-color-text)">{[p.message, fields, p.id && text.problem.id(p.id)].filter(Boolean).join(' ')}</Text>
            {p.passing && (
              <Button size="compact-sm" variant="default" mt="xs" onClick={again}>
                {text.retry}
              </Button>
            )}
          </>
        ),
      });
    },
  });
  return mutation;
}
