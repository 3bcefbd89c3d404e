import { Button, Group, NumberInput, Stack, Text } from '@mantine/core';
import { useState } from 'react';
import { useNavigate } from 'react-router';

import { api, ask, type Deploy, type Process } from '../api/client';
import { useAct } from '../api/query';
import { text } from '../text';
import { Empty } from '../ui/empty';
import { Answer, Panel } from '../ui/panel';
import { State } from '../ui/state';
import { DataTable, type Column } from '../ui/table';
import { bytes, When } from '../ui/when';
import { at, useThis } from './app';
import { useProcesses } from './overview';

const columns = (p: Process): Column<Process['instances'][number]>[] => [
  { id: 'replica', header: text.logs.replica, cell: (r) => r.index },
  {
    id: 'state',
    header: text.apps.state,
    cell: (r) => (
      <>
        <State of={r.state} />
        {r.reason !== undefined && r.reason !== '' && (
          <Text size="xs" c="dimmed">
            {r.reason}
          </Text>
        )}
      </>
    ),
  },
  { id: 'release', header: text.apps.release, cell: (r) => `v${r.release}` },
  { id: 'since', header: text.processes.since, cell: (r) => <When at={r.since} /> },
  {
    id: 'memory',
    header: text.processes.memory,
    cell: (r) => (r.memory_bytes === undefined ? '–' : bytes(r.memory_bytes)) + (p.memory_mb ? ` / ${bytes(p.memory_mb * 1024 * 1024)}` : ''),
  },
  { id: 'restarts', header: text.processes.restarts, cell: (r) => r.restarts ?? 0 },
];

function One({ app, process: p }: { app: string; process: Process }) {
  const [typed, setTyped] = useState<number | string | null>(null);
  const scale = useAct<number>({
    act: (replicas) => ask(api.PATCH('/v1/apps/{name}/processes/{process}', { params: { path: { name: app, process: p.name } }, body: { replicas } })),
    done: (_, n) => text.processes.scaled(p.name, n),
    then: () => setTyped(null),
  });
  const wanted = typed ?? p.replicas;
  return (
    <Panel
      title={p.name}
      note={<span className="mono">{p.command}</span>}
      actions={
        <form
          onSubmit={(e) => {
            e.preventDefault();
            scale.mutate(Number(wanted));
          }}
        >
          <Group gap="xs" align="flex-end">
            <NumberInput label={text.processes.replicasOf(p.name)} min={0} max={1000} allowDecimal={false} value={wanted} onChange={setTyped} w={150} size="xs" />
            <Button type="submit" size="xs" variant="default" loading={scale.isPending} disabled={wanted === '' || Number(wanted) === p.replicas}>
              {text.processes.scale}
            </Button>
          </Group>
        </form>
      }
    >
      {p.instances.length === 0 ? (
        <Text c="dimmed">{p.replicas === 0 ? text.processes.zero : text.processes.notYet}</Text>
      ) : (
        <DataTable label={text.processes.replicasOf(p.name)} columns={columns(p)} rows={p.instances} keyOf={(r) => `${r.release}-${r.index}`} />
      )}
    </Panel>
  );
}

/** The processes of the current release and how their replicas are. */
export function Processes() {
  const app = useThis();
  const processes = useProcesses(app.name);
  const go = useNavigate();
  const restart = useAct<undefined, Deploy>({
    act: () => ask(api.POST('/v1/apps/{name}/restart', { params: at(app.name) })),
    done: text.deploys.begun,
    then: (d) => go(`/apps/${app.name}/deploys/${d.id}`),
  });
  return (
    <Answer of={processes}>
      {({ items }) =>
        items.length === 0 ? (
          <Empty title={text.processes.none}>{text.deploys.noneWhy}</Empty>
        ) : (
          <Stack>
            <Group justify="space-between">
              <Text c="dimmed" size="sm" maw={640}>
                {text.processes.note}
              </Text>
              <Button variant="default" loading={restart.isPending} onClick={() => restart.mutate(undefined)} disabled={app.paused === true}>
                {text.app.restart}
              </Button>
            </Group>
            {items.map((p) => (
              <One key={p.name} app={app.name} process={p} />
            ))}
          </Stack>
        )
      }
    </Answer>
  );
}
