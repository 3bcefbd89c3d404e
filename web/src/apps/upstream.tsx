import { Button, Group, PasswordInput, SimpleGrid, Stack, Text, TextInput } from '@mantine/core';
import { useState } from 'react';
import { useNavigate } from 'react-router';

import { api, ask, newKey, type App, type Deploy, type Upstream } from '../api/client';
import { asProblem, useAct, useRoles } from '../api/query';
import { text } from '../text';
import { ConfirmButton } from '../ui/confirm';
import { Panel } from '../ui/panel';
import { ProblemBox } from '../ui/problem';
import { at, useThis } from './app';

interface Form {
  url: string;
  ref: string;
  user: string;
  token: string;
}

const fields = ['url', 'ref', 'user', 'token'];

/** Where a repository is, without what all addresses have. */
export const place = (u: Upstream) => u.url.replace(/^https:\/\//, '').replace(/\.git$/, '');

const remember = (name: string, f: Form) =>
  ask(
    api.PUT('/v1/apps/{name}/upstream', {
      params: at(name),
      body: { url: f.url, ...(f.ref && { ref: f.ref }), ...(f.user && { user: f.user }), ...(f.token && { token: f.token }) },
    }),
  );

const fetchNewest = (name: string, replace = false) =>
  ask(api.POST('/v1/apps/{name}/deploys/upstream', { params: { ...at(name), header: newKey() }, body: replace ? { replace } : {} }));

/** Asks for a repository, and does something with it. */
function UpstreamForm({ known, label, error, pending, act }: {
  known?: Upstream | undefined;
  label: string;
  error: unknown;
  pending: boolean;
  act: (form: Form) => void;
}) {
  const [form, setForm] = useState<Form>({ url: known?.url ?? '', ref: known?.ref ?? '', user: known?.user ?? '', token: '' });
  const wrong = error === null || error === undefined ? {} : asProblem(error).fields;
  const set = (part: Partial<Form>) => setForm({ ...form, ...part });
  const plain = { autoComplete: 'off', autoCapitalize: 'none', spellCheck: false } as const;
  const kept = known?.token === true && known.url === form.url && (known.user ?? '') === form.user;
  return (
    <form
      onSubmit={(e) => {
        e.preventDefault();
        act(form);
      }}
    >
      <Stack maw={640}>
        <TextInput
          label={text.upstream.url}
          description={text.upstream.urlNote}
          placeholder={text.upstream.example}
          value={form.url}
          onChange={(e) => set({ url: e.currentTarget.value })}
          error={wrong.url}
          maxLength={500}
          required
          {...plain}
        />
        <TextInput label={text.upstream.ref} description={text.upstream.refNote} value={form.ref} onChange={(e) => set({ ref: e.currentTarget.value })} error={wrong.ref} maxLength={250} {...plain} />
        <SimpleGrid cols={{ base: 1, sm: 2 }}>
          <TextInput label={text.upstream.user} description={text.upstream.userNote} value={form.user} onChange={(e) => set({ user: e.currentTarget.value })} error={wrong.user} maxLength={200} {...plain} />
          <PasswordInput
            label={text.upstream.token}
            description={kept ? text.upstream.tokenKept : text.upstream.tokenNote}
            value={form.token}
            onChange={(e) => set({ token: e.currentTarget.value })}
            error={wrong.token}
            maxLength={4000}
            autoComplete="new-password"
          />
        </SimpleGrid>
        <ProblemBox error={error} skip={fields} />
        <Group>
          <Button type="submit" loading={pending}>
            {label}
          </Button>
        </Group>
      </Stack>
    </form>
  );
}

/** It may take a while, and there is no deploy yet that could be looked at. */
const Fetching = () => (
  <Text size="sm" c="dimmed" role="status">
    {text.upstream.fetching}
  </Text>
);

/** A way for code to come to a new app: from another git server. */
export function FromUpstream({ app }: { app: App }) {
  const go = useNavigate();
  const begin = useAct<Form, Deploy>({
    act: async (form) => {
      await remember(app.name, form);
      return fetchNewest(app.name);
    },
    done: text.deploys.begun,
    inForm: true,
    then: (d) => go(`/apps/${app.name}/deploys/${d.id}`),
  });
  return (
    <Stack>
      <Text size="sm">{text.upstream.why}</Text>
      <UpstreamForm known={app.upstream} label={text.upstream.begin} error={begin.error} pending={begin.isPending} act={(f) => begin.mutate(f)} />
      {begin.isPending && <Fetching />}
    </Stack>
  );
}

/** Deploys what is newest in the repository that an app comes from. */
export function DeployUpstream({ name, upstream }: { name: string; upstream: Upstream }) {
  const go = useNavigate();
  const open = (d: Deploy) => go(`/apps/${name}/deploys/${d.id}`);
  const newest = useAct<undefined, Deploy>({ act: () => fetchNewest(name), done: text.deploys.begun, inForm: true, then: open });
  const conflict = newest.error !== null && asProblem(newest.error).kind === 'conflict';
  return (
    <Panel title={text.upstream.deploys} note={text.upstream.deploysNote(upstream.ref)}>
      <Stack>
        <Group>
          <Button onClick={() => newest.mutate(undefined)} loading={newest.isPending}>
            {text.upstream.deployFrom(place(upstream))}
          </Button>
          {conflict && (
            <ConfirmButton
              label={text.upstream.replace}
              title={text.upstream.replaceOf(name)}
              what={text.upstream.replaceWhat}
              act={async () => open(await fetchNewest(name, true))}
              done={text.deploys.begun}
            />
          )}
        </Group>
        {newest.isPending && <Fetching />}
        <ProblemBox error={newest.error} />
      </Stack>
    </Panel>
  );
}

/** Shows, changes and removes the repository that an app comes from. */
export function UpstreamSettings() {
  const app = useThis();
  const roles = useRoles();
  const [saved, setSaved] = useState(0); // a form of its own for each: what was typed as a token goes
  const save = useAct<Form, Upstream>({ act: (form) => remember(app.name, form), done: text.saved, inForm: true, then: () => setSaved(saved + 1) });
  if (!roles.create) return null;
  const known = app.upstream;
  const remove = known !== undefined && (
    <ConfirmButton
      label={text.upstream.remove}
      title={text.upstream.removeOf(place(known))}
      what={text.upstream.removeWhat}
      act={() => ask(api.DELETE('/v1/apps/{name}/upstream', { params: at(app.name) }))}
      done={text.upstream.removed}
    />
  );
  return (
    <Panel title={text.upstream.title} note={text.upstream.titleNote} actions={remove}>
      <UpstreamForm key={`${saved} ${known?.url}`} known={known} label={text.save} error={save.error} pending={save.isPending} act={(f) => save.mutate(f)} />
    </Panel>
  );
}
