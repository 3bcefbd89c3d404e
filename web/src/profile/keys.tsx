import { Button, Group, Stack, Table, Text, Textarea, TextInput } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { useState } from 'react';

import { api, ask, newKey, type SSHHost } from '../api/client';
import { asProblem, useAct } from '../api/query';
import { text } from '../text';
import { ConfirmButton } from '../ui/confirm';
import { Commands, Copy } from '../ui/copy';
import { Answer, Facts, Panel } from '../ui/panel';
import { ProblemBox } from '../ui/problem';
import { When } from '../ui/when';

/** What is never sent: it is of no use here, and of much to others. */
const isPrivate = (key: string) => /PRIVATE KEY|PuTTY-User-Key-File/.test(key);

function AddKey() {
  const [form, setForm] = useState({ key: '', name: '' });
  const [leaked, setLeaked] = useState(false);
  const add = useAct<typeof form>({
    act: (body) => ask(api.POST('/v1/ssh-keys', { params: { header: newKey() }, body: { key: body.key, ...(body.name && { name: body.name }) } })),
    done: text.keys.added,
    inForm: true,
    then: () => setForm({ key: '', name: '' }),
  });
  const wrong = add.error === null ? {} : asProblem(add.error).fields;
  const type = (key: string) => {
    setLeaked(isPrivate(key));
    setForm({ ...form, key: isPrivate(key) ? '' : key });
  };
  return (
    <form
      onSubmit={(e) => {
        e.preventDefault();
        add.mutate(form);
      }}
    >
      <Stack>
        <Textarea
          label={text.keys.key}
          description={text.keys.keyHint}
          placeholder={text.keys.keyLike}
          className="mono"
          value={form.key}
          onChange={(e) => type(e.currentTarget.value)}
          error={leaked ? text.keys.private : wrong.key}
          autosize
          minRows={2}
          maxRows={6}
          autoComplete="off"
          autoCapitalize="none"
          spellCheck={false}
          maxLength={16384}
          required
        />
        <Group align="flex-end">
          <TextInput label={text.keys.name} placeholder={text.keys.nameHint} value={form.name} onChange={(e) => setForm({ ...form, name: e.currentTarget.value })} error={wrong.name} maxLength={100} autoComplete="off" flex="1 1 10rem" />
          <Button type="submit" loading={add.isPending}>
            {text.keys.add}
          </Button>
        </Group>
        <ProblemBox error={add.error} skip={['key', 'name']} />
      </Stack>
    </form>
  );
}

/** How people see at the first connection that it is this platform. */
function Host({ host }: { host: SSHHost }) {
  return (
    <Stack gap="sm">
      <Facts
        of={[
          [text.keys.address, <span key="a" className="mono">{host.address}</span>],
          [
            text.keys.hostKey,
            <Group key="f" gap={4} wrap="nowrap">
              <span className="mono">{host.fingerprint}</span>
              <Copy value={host.fingerprint} label={text.keys.copyHostKey} />
            </Group>,
          ],
        ]}
      />
      <Text size="sm">{text.keys.known}</Text>
      <Commands label={text.keys.copyKnown}>{host.known_hosts}</Commands>
    </Stack>
  );
}

/** One's own keys for git over SSH. */
export function Keys() {
  const keys = useQuery({ queryKey: ['ssh-keys'], queryFn: ({ signal }) => ask(api.GET('/v1/ssh-keys', { signal })) });
  const status = useQuery({ queryKey: ['status'], queryFn: ({ signal }) => ask(api.GET('/v1/status', { signal })) });
  return (
    <Panel title={text.keys.title} note={status.data !== undefined && status.data.ssh === undefined ? text.keys.off : text.keys.note}>
      <AddKey />
      <Answer of={keys}>
        {({ items }) =>
          items.length > 0 && (
            <Table.ScrollContainer minWidth={640} scrollAreaProps={{ viewportProps: { tabIndex: 0, role: 'group', 'aria-label': text.keys.title } }}>
              <Table aria-label={text.keys.title}>
                <Table.Thead>
                  <Table.Tr>
                    {[text.keys.name, text.keys.type, text.keys.fingerprint, text.keys.since, text.profile.used, text.actions].map((h) => (
                      <Table.Th key={h}>{h}</Table.Th>
                    ))}
                  </Table.Tr>
                </Table.Thead>
                <Table.Tbody>
                  {items.map((k) => (
                    <Table.Tr key={k.id}>
                      <Table.Td fw={550}>{k.name}</Table.Td>
                      <Table.Td>{k.type}</Table.Td>
                      <Table.Td className="mono">{k.fingerprint}</Table.Td>
                      <Table.Td>
                        <When at={k.created} />
                      </Table.Td>
                      <Table.Td>
                        <When at={k.last_used} />
                      </Table.Td>
                      <Table.Td>
                        <ConfirmButton
                          label={text.keys.remove}
                          aria={text.keys.removeOf(k.name)}
                          title={text.keys.removeOf(k.name)}
                          what={text.keys.removeWhat}
                          button={{ size: 'compact-sm' }}
                          act={() => ask(api.DELETE('/v1/ssh-keys/{id}', { params: { path: { id: k.id } } }))}
                          done={text.keys.removed(k.name)}
                        />
                      </Table.Td>
                    </Table.Tr>
                  ))}
                </Table.Tbody>
              </Table>
            </Table.ScrollContainer>
          )
        }
      </Answer>
      {status.data?.ssh !== undefined && <Host host={status.data.ssh} />}
    </Panel>
  );
}
