import { Badge, Button, Checkbox, Group, Modal, PasswordInput, Stack, Switch, Text, TextInput } from '@mantine/core';
import { useDebouncedValue, useDisclosure } from '@mantine/hooks';
import { IconSearch } from '@tabler/icons-react';
import { keepPreviousData, useQuery } from '@tanstack/react-query';
import { useState } from 'react';

import { api, ask, newKey, type User } from '../api/client';
import { asProblem, useAct } from '../api/query';
import { text } from '../text';
import { Answer, Panel } from '../ui/panel';
import { useParam } from '../ui/params';
import { ProblemBox } from '../ui/problem';
import { DataTable, type Column } from '../ui/table';
import { day } from '../ui/when';

interface Form {
  name: string;
  full_name: string;
  email: string;
  password: string;
  roles: string[];
  disabled: boolean;
}

/** Makes a person, or changes one. */
function Edit({ user }: { user?: User }) {
  const [opened, dialog] = useDisclosure(false);
  const [form, setForm] = useState<Form>({ name: '', full_name: '', email: '', password: '', roles: [], disabled: false });
  const save = useAct<Form>({
    act: async (f) => {
      if (user === undefined) {
        const { name, password, roles, email, full_name } = f;
        return ask(api.POST('/v1/users', { params: { header: newKey() }, body: { name, password, roles, ...(email && { email }), ...(full_name && { full_name }) } }));
      }
      const path = { params: { path: { user: user.name } } };
      const { roles, email, full_name, disabled } = f;
      await ask(api.PATCH('/v1/users/{user}', { ...path, body: { roles, email, full_name, disabled } }));
      if (f.password !== '') await ask(api.PUT('/v1/users/{user}/password', { ...path, body: { password: f.password } }));
      return undefined;
    },
    done: text.users.saved(user?.name ?? form.name),
    inForm: true,
    then: dialog.close,
  });
  const wrong = save.error === null ? {} : asProblem(save.error).fields;
  const set = (part: Partial<Form>) => setForm({ ...form, ...part });
  const open = () => {
    save.reset();
    setForm({
      name: user?.name ?? '',
      full_name: user?.full_name ?? '',
      email: user?.email ?? '',
      password: '',
      roles: (user?.roles ?? []).filter((r) => r !== 'viewer'),
      disabled: user?.disabled ?? false,
    });
    dialog.open();
  };
  return (
    <>
      <Button onClick={open} {...(user !== undefined && { variant: 'default', size: 'compact-sm' })} aria-label={user && text.users.editOf(user.name)}>
        {user === undefined ? text.users.add : text.env.edit}
      </Button>
      <Modal opened={opened} onClose={dialog.close} title={user === undefined ? text.users.add : text.users.editOf(user.name)} closeButtonProps={{ 'aria-label': text.close }}>
        <form
          onSubmit={(e) => {
            e.preventDefault();
            save.mutate(form);
          }}
        >
          <Stack>
            {user === undefined && (
              <TextInput label={text.profile.name} value={form.name} onChange={(e) => set({ name: e.currentTarget.value })} error={wrong.name} required autoComplete="off" autoCapitalize="none" data-autofocus />
            )}
            <TextInput label={text.profile.fullName} value={form.full_name} onChange={(e) => set({ full_name: e.currentTarget.value })} error={wrong.full_name} />
            <TextInput label={text.profile.email} type="email" value={form.email} onChange={(e) => set({ email: e.currentTarget.value })} error={wrong.email} />
            <PasswordInput label={user === undefined ? text.profile.password : text.users.newPassword} description={text.profile.newRule} value={form.password} onChange={(e) => set({ password: e.currentTarget.value })} error={wrong.password} required={user === undefined} autoComplete="new-password" />
            <Checkbox.Group label={text.profile.roles} value={form.roles} onChange={(roles) => set({ roles })}>
              <Stack gap="xs" mt={6}>
                <Checkbox value="licensed_user" label={text.roles.licensed_user} description={text.users.licensedNote} />
                <Checkbox value="admin" label={text.roles.admin} description={text.users.adminNote} />
              </Stack>
            </Checkbox.Group>
            {user !== undefined && <Switch label={text.users.disabled} description={text.users.disabledNote} checked={form.disabled} onChange={(e) => set({ disabled: e.currentTarget.checked })} />}
            <ProblemBox error={save.error} skip={['name', 'full_name', 'email', 'password']} />
            <Group justify="flex-end">
              <Button type="submit" loading={save.isPending}>
                {text.save}
              </Button>
            </Group>
          </Stack>
        </form>
      </Modal>
    </>
  );
}

const columns: Column<User>[] = [
  {
    id: 'name',
    header: text.profile.name,
    cell: (u) => (
      <div>
        <Text fw={600}>{u.full_name ?? u.name}</Text>
        <Text size="xs" c="dimmed" className="mono">
          {u.name}
        </Text>
      </div>
    ),
  },
  { id: 'email', header: text.profile.email, cell: (u) => u.email ?? '–' },
  {
    id: 'roles',
    header: text.profile.roles,
    cell: (u) => (
      <Group gap={4}>
        {(u.roles ?? [])
          .filter((r) => r !== 'viewer')
          .map((r) => (
            <Badge key={r} variant="light" tt="none" className={`tone tone-${r === 'admin' ? 'warn' : 'good'}`}>
              {text.roles[r] ?? r}
            </Badge>
          ))}
        {u.disabled === true && <Badge variant="light" tt="none" className="tone tone-quiet">{text.users.isDisabled}</Badge>}
      </Group>
    ),
  },
  { id: 'created', header: text.app.created, cell: (u) => day(u.created) },
  { id: 'act', header: text.actions, right: true, cell: (u) => <Edit user={u} /> },
];

/** Everybody who may sign in. */
export function Users() {
  const [q, setQ] = useParam('q');
  const [cursor, setCursor] = useParam('after');
  const [query] = useDebouncedValue(q.trim(), 200);
  const users = useQuery({
    queryKey: ['users', query, cursor],
    queryFn: ({ signal }) => ask(api.GET('/v1/users', { signal, params: { query: { limit: 50, ...(query && { q: query }), ...(cursor && { cursor }) } } })),
    placeholderData: keepPreviousData,
  });
  const limits = useQuery({ queryKey: ['limits'], queryFn: ({ signal }) => ask(api.GET('/v1/limits', { signal })) });
  const seats = limits.data?.seats;
  return (
    <Panel title={text.admin.section.users} note={seats && text.users.seats(seats.used, seats.max)} actions={<Edit />}>
      <TextInput type="search" aria-label={text.users.search} placeholder={text.users.search} leftSection={<IconSearch size={18} />} value={q} onChange={(e) => setQ(e.currentTarget.value)} maw={360} />
      <Answer of={users}>{({ items }) => <DataTable label={text.admin.section.users} columns={columns} rows={items} keyOf={(u) => u.name} />}</Answer>
      {(cursor !== '' || users.data?.next !== undefined) && (
        <Group justify="center">
          <Button variant="default" disabled={cursor === ''} onClick={() => setCursor('')}>
            {text.table.first}
          </Button>
          <Button variant="default" disabled={users.data?.next === undefined} onClick={() => setCursor(users.data?.next ?? '')}>
            {text.table.next}
          </Button>
        </Group>
      )}
    </Panel>
  );
}
