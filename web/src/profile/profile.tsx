import { Alert, Badge, Button, Group, PasswordInput, Select, SimpleGrid, Stack, Text, TextInput } from '@mantine/core';
import { IconKey } from '@tabler/icons-react';
import { useQuery } from '@tanstack/react-query';
import { useState } from 'react';

import { api, ask, newKey, type NewToken, type Session, type Token } from '../api/client';
import { asProblem, useAct, useMe } from '../api/query';
import { text } from '../text';
import { ConfirmButton } from '../ui/confirm';
import { Commands } from '../ui/copy';
import { Page } from '../ui/page';
import { Answer, Facts, Panel } from '../ui/panel';
import { ProblemBox } from '../ui/problem';
import { DataTable, type Column } from '../ui/table';
import { day, When } from '../ui/when';
import { Keys } from './keys';

function About() {
  const me = useMe();
  const user = me.data?.user;
  const [typed, setTyped] = useState<string | null>(null);
  const save = useAct<string>({
    act: (full_name) => ask(api.PATCH('/v1/users/{user}', { params: { path: { user: user?.name ?? '' } }, body: { full_name } })),
    done: text.saved,
    inForm: true,
  });
  return (
    <Panel title={text.profile.about}>
      <Answer of={me}>
        {({ user: u }) => (
          <Stack>
            <Facts
              of={[
                [text.profile.name, u.name],
                [text.profile.email, u.email ?? '–'],
                [text.profile.roles, ['viewer', ...(u.roles ?? [])].filter((r, i, all) => all.indexOf(r) === i).map((r) => text.roles[r] ?? r).join(', ')],
              ]}
            />
            <form
              onSubmit={(e) => {
                e.preventDefault();
                save.mutate(typed ?? u.full_name ?? '');
              }}
            >
              <Group align="flex-end">
                <TextInput label={text.profile.fullName} value={typed ?? u.full_name ?? ''} onChange={(e) => setTyped(e.currentTarget.value)} autoComplete="name" maxLength={200} flex="1 1 14rem" />
                <Button type="submit" variant="default" loading={save.isPending}>
                  {text.save}
                </Button>
              </Group>
            </form>
            <ProblemBox error={save.error} />
          </Stack>
        )}
      </Answer>
    </Panel>
  );
}

function Password() {
  const me = useMe();
  const [form, setForm] = useState({ old_password: '', password: '' });
  const change = useAct<typeof form>({
    act: (body) => ask(api.PUT('/v1/users/{user}/password', { params: { path: { user: me.data?.user.name ?? '' } }, body })),
    done: text.profile.passwordChanged,
    inForm: true,
    then: () => setForm({ old_password: '', password: '' }),
  });
  const wrong = change.error === null ? {} : asProblem(change.error).fields;
  return (
    <Panel title={text.profile.password} note={text.profile.passwordNote}>
      <form
        onSubmit={(e) => {
          e.preventDefault();
          change.mutate(form);
        }}
      >
        <Stack>
          <input type="text" name="username" autoComplete="username" value={me.data?.user.name ?? ''} readOnly hidden aria-hidden />
          <PasswordInput label={text.profile.old} autoComplete="current-password" value={form.old_password} onChange={(e) => setForm({ ...form, old_password: e.currentTarget.value })} error={wrong.old_password} required />
          <PasswordInput label={text.profile.new} description={text.profile.newRule} autoComplete="new-password" value={form.password} onChange={(e) => setForm({ ...form, password: e.currentTarget.value })} error={wrong.password} required />
          <ProblemBox error={change.error} skip={['old_password', 'password']} />
          <Group>
            <Button type="submit" variant="default" loading={change.isPending}>
              {text.profile.change}
            </Button>
          </Group>
        </Stack>
      </form>
    </Panel>
  );
}

function NewTokenForm() {
  const [form, setForm] = useState({ name: '', scope: 'deploy', days: '90' });
  const create = useAct<undefined, NewToken>({
    act: () => {
      const expires = form.days === '0' ? undefined : new Date(Date.now() + Number(form.days) * 86_400_000).toISOString();
      return ask(api.POST('/v1/tokens', { params: { header: newKey() }, body: { name: form.name, scopes: [form.scope], ...(expires && { expires }) } }));
    },
    inForm: true,
    then: () => setForm({ ...form, name: '' }),
  });
  const wrong = create.error === null ? {} : asProblem(create.error).fields;
  return (
    <Stack>
      {create.data !== undefined && (
        <Alert color="teal" role="status" title={text.profile.copyNow} icon={<IconKey aria-hidden />}>
          <Commands label={text.profile.copyToken}>{create.data.secret}</Commands>
          <Text size="sm" mt="xs" c="var(--mantine-color-text)">
            {text.profile.tokenUse}
          </Text>
        </Alert>
      )}
      <form
        onSubmit={(e) => {
          e.preventDefault();
          create.mutate(undefined);
        }}
      >
        <Group align="flex-end">
          <TextInput label={text.profile.tokenName} placeholder={text.profile.tokenLike} value={form.name} onChange={(e) => setForm({ ...form, name: e.currentTarget.value })} error={wrong.name} maxLength={100} required flex="1 1 10rem" />
          <Select label={text.profile.may} allowDeselect={false} value={form.scope} onChange={(v) => setForm({ ...form, scope: v ?? 'read' })} data={Object.entries(text.scopes).map(([value, label]) => ({ value, label }))} w={200} />
          <Select label={text.profile.expires} allowDeselect={false} value={form.days} onChange={(v) => setForm({ ...form, days: v ?? '30' })} data={Object.entries(text.profile.days).map(([value, label]) => ({ value, label }))} w={150} />
          <Button type="submit" loading={create.isPending}>
            {text.profile.make}
          </Button>
        </Group>
      </form>
      <ProblemBox error={create.error} skip={['name']} />
    </Stack>
  );
}

const tokenColumns: Column<Token>[] = [
  { id: 'name', header: text.profile.tokenName, cell: (t) => <Text size="sm" fw={550}>{t.name}</Text> },
  { id: 'may', header: text.profile.may, cell: (t) => (t.scopes ?? []).map((s) => text.scopes[s] ?? s).join(', ') },
  { id: 'used', header: text.profile.used, cell: (t) => <When at={t.last_used} /> },
  { id: 'expires', header: text.profile.expires, cell: (t) => (t.expires === undefined ? text.never : day(t.expires)) },
  {
    id: 'actions',
    header: text.actions,
    cell: (t) => (
      <ConfirmButton
        label={text.profile.revoke}
        aria={text.profile.revokeOf(t.name)}
        title={text.profile.revokeOf(t.name)}
        what={text.profile.revokeWhat}
        button={{ size: 'compact-sm' }}
        act={() => ask(api.DELETE('/v1/tokens/{id}', { params: { path: { id: t.id } } }))}
        done={text.profile.revoked(t.name)}
      />
    ),
  },
];

function Tokens() {
  const tokens = useQuery({ queryKey: ['tokens'], queryFn: ({ signal }) => ask(api.GET('/v1/tokens', { signal })) });
  return (
    <Panel title={text.profile.tokens} note={text.profile.tokensNote}>
      <NewTokenForm />
      <Answer of={tokens}>
        {({ items }) => items.length > 0 && <DataTable label={text.profile.tokens} columns={tokenColumns} rows={items} keyOf={(t) => t.id} />}
      </Answer>
    </Panel>
  );
}

/** A browser's name for itself, in words. */
function device(agent = ''): string {
  const find = (pairs: [RegExp, string][]) => pairs.find(([re]) => re.test(agent))?.[1];
  const browser = find([[/Edg\//, 'Edge'], [/OPR\//, 'Opera'], [/Firefox\//, 'Firefox'], [/Chrome\//, 'Chrome'], [/Safari\//, 'Safari']]) ?? text.profile.browser;
  const system = find([[/Android/, 'Android'], [/iPhone|iPad/, 'iOS'], [/Windows/, 'Windows'], [/Mac OS X/, 'macOS'], [/Linux/, 'Linux']]);
  return system === undefined ? browser : text.profile.on(browser, system);
}

function Sessions() {
  const sessions = useQuery({ queryKey: ['sessions'], queryFn: ({ signal }) => ask(api.GET('/v1/sessions', { signal })) });
  const end = useAct<Session>({ act: (s) => ask(api.DELETE('/v1/sessions/{id}', { params: { path: { id: s.id } } })), done: text.profile.ended });
  return (
    <Panel title={text.profile.sessions}>
      <Answer of={sessions}>
        {({ items }) => (
          <Stack gap={0}>
            {items.map((s) => (
              <Group key={s.id} justify="space-between" className="row">
                <div>
                  <Group gap="xs">
                    <Text fw={550}>{device(s.agent)}</Text>
                    {s.current === true && <Badge variant="light" tt="none" className="tone tone-good">{text.profile.here}</Badge>}
                  </Group>
                  <Text size="sm" c="dimmed">
                    {s.addr} · {text.profile.seen} <When at={s.seen} />
                  </Text>
                </div>
                {s.current !== true && (
                  <Button variant="default" size="compact-md" loading={end.isPending && end.variables.id === s.id} onClick={() => end.mutate(s)} aria-label={text.profile.endOf(device(s.agent))}>
                    {text.nav.signOut}
                  </Button>
                )}
              </Group>
            ))}
          </Stack>
        )}
      </Answer>
    </Panel>
  );
}

/** One's own account. */
export function Profile() {
  return (
    <Page title={text.nav.profile} window={text.nav.profile}>
      <SimpleGrid cols={{ base: 1, md: 2 }}>
        <About />
        <Password />
      </SimpleGrid>
      <Tokens />
      <Keys />
      <Sessions />
    </Page>
  );
}
