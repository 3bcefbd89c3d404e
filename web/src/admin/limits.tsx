import { Anchor, Badge, Button, Group, Modal, NumberInput, Progress, Stack, Table, Text } from '@mantine/core';
import { useDisclosure } from '@mantine/hooks';
import { useQuery } from '@tanstack/react-query';
import { useState } from 'react';
import { Link } from 'react-router';

import { api, ask, type Limit } from '../api/client';
import { useAct } from '../api/query';
import { text } from '../text';
import { Answer, Panel } from '../ui/panel';
import { ProblemBox } from '../ui/problem';

const names = ['replicas', 'volumes', 'memory_mb', 'seats', 'process_replicas', 'replica_memory_mb'] as const;
type Name = (typeof names)[number];

function Change({ name, limit }: { name: Name; limit: Limit }) {
  const [opened, dialog] = useDisclosure(false);
  const [value, setValue] = useState<number | string>('');
  const save = useAct<number>({
    act: (n) => ask(api.PATCH('/v1/limits', { body: { [name]: n } })),
    done: text.saved,
    inForm: true,
    then: dialog.close,
  });
  return (
    <>
      <Button
        variant="default"
        size="compact-sm"
        aria-label={text.limits.changeOf(text.limits.names[name])}
        onClick={() => {
          save.reset();
          setValue(limit.override ?? limit.max ?? '');
          dialog.open();
        }}
      >
        {text.limits.change}
      </Button>
      <Modal opened={opened} onClose={dialog.close} title={text.limits.names[name]} closeButtonProps={{ 'aria-label': text.close }}>
        <form
          onSubmit={(e) => {
            e.preventDefault();
            save.mutate(value === '' ? 0 : Number(value));
          }}
        >
          <Stack>
            <NumberInput label={text.limits.most} description={text.limits.mostNote(limit.default)} value={value} onChange={setValue} min={0} allowDecimal={false} data-autofocus />
            <ProblemBox error={save.error} />
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

function Row({ name, limit }: { name: Name; limit: Limit }) {
  const part = limit.max === undefined || limit.max === 0 ? 0 : (100 * limit.used) / limit.max;
  const colour = limit.state === 'ok' ? 'blue' : limit.state === 'near' ? 'orange' : 'red';
  return (
    <div>
      <Group justify="space-between" mb={6}>
        <div>
          <Group gap="xs">
            <Text fw={600}>{text.limits.names[name]}</Text>
            {limit.state !== 'ok' && (
              <Badge variant="light" tt="none" className={`tone tone-${limit.state === 'near' ? 'warn' : 'bad'}`}>
                {text.limits.states[limit.state]}
              </Badge>
            )}
          </Group>
          <Text size="sm" c="dimmed">
            {text.limits.notes[name]}
          </Text>
        </div>
        <Group gap="sm">
          <Text>{text.limits.of(limit.used, limit.max)}</Text>
          <Change name={name} limit={limit} />
        </Group>
      </Group>
      {limit.max !== undefined && <Progress value={Math.min(100, part)} color={colour} aria-label={text.limits.names[name]} />}
    </div>
  );
}

/** How much there may be of everything, and how much there is. */
export function Limits() {
  const limits = useQuery({ queryKey: ['limits'], queryFn: ({ signal }) => ask(api.GET('/v1/limits', { signal })), refetchInterval: 15_000 });
  return (
    <Answer of={limits}>
      {(l) => (
        <Stack>
          <Panel title={text.admin.section.limits} note={text.limits.note(l.warn_at_percent)}>
            {names.map((name) => (
              <Row key={name} name={name} limit={l[name]} />
            ))}
          </Panel>
          {l.frees.length > 0 && (
            <Panel title={text.limits.frees} note={text.limits.freesNote}>
              <Table aria-label={text.limits.frees}>
                <Table.Tbody>
                  {l.frees.map((u) => (
                    <Table.Tr key={u.app}>
                      <Table.Td>
                        <Anchor component={Link} to={`/apps/${u.app}`}>
                          {u.app}
                        </Anchor>
                        <Text size="xs" c="dimmed">
                          {text.portal.by(u.owner)}
                        </Text>
                      </Table.Td>
                      <Table.Td>{text.limits.use(u.replicas, u.volumes, u.memory_mb)}</Table.Td>
                      <Table.Td>{u.do}</Table.Td>
                    </Table.Tr>
                  ))}
                </Table.Tbody>
              </Table>
            </Panel>
          )}
        </Stack>
      )}
    </Answer>
  );
}
