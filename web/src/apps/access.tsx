import { Alert, Autocomplete, Button, Group, Loader, Radio, Select, Stack, Table, Text } from '@mantine/core';
import { useDebouncedValue } from '@mantine/hooks';
import { IconCircleCheck, IconCircleX } from '@tabler/icons-react';
import { keepPreviousData, useQuery } from '@tanstack/react-query';
import { useState } from 'react';

import { api, ask, type App } from '../api/client';
import { useAct } from '../api/query';
import { text } from '../text';
import { ConfirmButton } from '../ui/confirm';
import { Answer, Panel } from '../ui/panel';
import { ProblemBox } from '../ui/problem';
import { at, useThis } from './app';

type Role = 'viewer' | 'co-owner';

/** People whose name begins like what was typed. */
export function PersonPicker({ app, label, value, onChange }: { app: string; label: string; value: string; onChange: (v: string) => void }) {
  const [q] = useDebouncedValue(value.trim(), 150);
  const found = useQuery({
    queryKey: ['app', app, 'people', q],
    queryFn: ({ signal }) => ask(api.GET('/v1/apps/{name}/people', { signal, params: { ...at(app), query: { limit: 8, ...(q && { q }) } } })),
    placeholderData: keepPreviousData,
  });
  const people = found.data?.items ?? [];
  const full = Object.fromEntries(people.map((p) => [p.name, p.full_name]));
  return (
    <Autocomplete
      label={label}
      placeholder={text.access.typeName}
      value={value}
      onChange={onChange}
      data={people.map((p) => p.name)}
      filter={({ options }) => options}
      renderOption={({ option }) => (
        <div>
          <Text size="sm">{option.value}</Text>
          {full[option.value] !== undefined && (
            <Text size="xs" c="dimmed">
              {full[option.value]}
            </Text>
          )}
        </div>
      )}
      rightSection={found.isFetching ? <Loader size={14} /> : null}
      autoComplete="off"
      autoCapitalize="none"
      flex="1 1 12rem"
    />
  );
}

function Level({ app }: { app: App }) {
  const [picked, pick] = useState<App['access'] | null>(null);
  const change = useAct<App['access']>({
    act: (access) => ask(api.PATCH('/v1/apps/{name}', { params: at(app.name), body: { access: access as 'restricted' } })),
    done: (_, level) => text.access.changed(text.levels[level] ?? level),
  });
  return (
    <Panel title={text.access.level} note={text.access.levelNote}>
      <Radio.Group
        value={picked ?? app.access}
        onChange={(v) => {
          pick(v); // at once: a mutation tells of itself a moment later
          change.mutate(v, { onSettled: () => pick(null) });
        }}
        aria-label={text.access.level}
      >
        <Stack gap="sm">
          {Object.entries(text.levels).map(([value, label]) => (
            <Radio key={value} value={value} label={label} description={text.access.levels[value]} />
          ))}
        </Stack>
      </Radio.Group>
    </Panel>
  );
}

function Share({ app }: { app: string }) {
  const [user, setUser] = useState('');
  const [role, setRole] = useState<Role>('viewer');
  const share = useAct<undefined>({
    act: () => ask(api.PUT('/v1/apps/{name}/grants/{user}', { params: { path: { name: app, user: user.trim() } }, body: { role } })),
    done: () => text.access.shared(user.trim()),
    inForm: true,
    then: () => setUser(''),
  });
  return (
    <form
      onSubmit={(e) => {
        e.preventDefault();
        share.mutate(undefined);
      }}
    >
      <Stack gap="sm">
        <Group gap="sm" align="flex-end">
          <PersonPicker app={app} label={text.access.person} value={user} onChange={setUser} />
          <Select
            label={text.access.as}
            value={role}
            onChange={(v) => setRole(v === 'co-owner' ? v : 'viewer')}
            allowDeselect={false}
            data={[
              { value: 'viewer', label: text.access.roles.viewer ?? '' },
              { value: 'co-owner', label: text.access.roles['co-owner'] ?? '' },
            ]}
            w={220}
          />
          <Button type="submit" loading={share.isPending} disabled={user.trim() === ''}>
            {text.access.share}
          </Button>
        </Group>
        <ProblemBox error={share.error} />
      </Stack>
    </form>
  );
}

function People({ app }: { app: string }) {
  const report = useQuery({
    queryKey: ['app', app, 'access'],
    queryFn: ({ signal }) => ask(api.GET('/v1/apps/{name}/access', { signal, params: at(app) })),
  });
  return (
    <Panel title={text.access.who} note={text.access.whoNote}>
      <Share app={app} />
      <Answer of={report}>
        {(r) => (
          <Stack gap="sm">
            <Table aria-label={text.access.who}>
              <Table.Tbody>
                {r.people.map((p) => {
                  const role = p.why.find((w) => w === 'viewer' || w === 'co-owner');
                  return (
                    <Table.Tr key={p.user}>
                      <Table.Td>
                        <Text fw={550}>{p.full_name ?? p.user}</Text>
                        <Text size="xs" c="dimmed" className="mono">
                          {p.user}
                        </Text>
                      </Table.Td>
                      <Table.Td>{p.disabled === true ? text.access.disabled : p.why.map((w) => text.access.roles[w] ?? w).join(', ')}</Table.Td>
                      <Table.Td ta="right">
                        {role !== undefined && (
                          <ConfirmButton
                            label={text.access.remove}
                            aria={text.access.removeWho(p.user)}
                            title={text.access.removeWho(p.user)}
                            what={text.access.removeWhat(p.user)}
                            button={{ size: 'compact-sm' }}
                            act={() => ask(api.DELETE('/v1/apps/{name}/grants/{user}', { params: { path: { name: app, user: p.user } } }))}
                            done={text.access.removed(p.user)}
                          />
                        )}
                      </Table.Td>
                    </Table.Tr>
                  );
                })}
              </Table.Tbody>
            </Table>
            {r.others !== 'nobody' && <Alert>{text.access.others[r.others]}</Alert>}
          </Stack>
        )}
      </Answer>
    </Panel>
  );
}

function Explain({ app }: { app: string }) {
  const [user, setUser] = useState('');
  const ask1 = useAct<string, { user: string; may_open: boolean; why?: string[] | null; do?: string[] | null }>({
    act: (who) => ask(api.GET('/v1/apps/{name}/access/explain', { params: { ...at(app), query: { user: who } } })),
    touches: ['nothing'],
    inForm: true,
  });
  const answer = ask1.data;
  return (
    <Panel title={text.access.explain} note={text.access.explainNote}>
      <form
        onSubmit={(e) => {
          e.preventDefault();
          ask1.mutate(user.trim());
        }}
      >
        <Group gap="sm" align="flex-end">
          <PersonPicker app={app} label={text.access.can} value={user} onChange={setUser} />
          <Button type="submit" variant="default" loading={ask1.isPending} disabled={user.trim() === ''}>
            {text.access.tell}
          </Button>
        </Group>
      </form>
      <ProblemBox error={ask1.error} />
      {answer !== undefined && (
        <Alert
          role="status"
          color={answer.may_open ? 'teal' : 'orange'}
          icon={answer.may_open ? <IconCircleCheck aria-hidden /> : <IconCircleX aria-hidden />}
          title={answer.may_open ? text.access.may(answer.user) : text.access.mayNot(answer.user)}
        >
          {[...(answer.why ?? []), ...(answer.do ?? [])].map((line) => (
            <Text key={line} size="sm" c="var(--mantine-color-text)">
              {line}
            </Text>
          ))}
        </Alert>
      )}
    </Panel>
  );
}

/** Who may open the app, and why. */
export function Access() {
  const app = useThis();
  return (
    <Stack>
      <Level app={app} />
      <People app={app.name} />
      <Explain app={app.name} />
    </Stack>
  );
}
