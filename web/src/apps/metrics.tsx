import { Group, SegmentedControl, SimpleGrid, Stack, Text } from '@mantine/core';
import { keepPreviousData, useQuery } from '@tanstack/react-query';

import { api, ask, type DeployMark, type MetricsPoint } from '../api/client';
import { text } from '../text';
import { Answer, Panel } from '../ui/panel';
import { useParam } from '../ui/params';
import { Plot, type Line } from '../ui/plot';
import { at, useThis } from './app';

const hour = 3600_000;
export const spans: Record<string, number> = { '1h': hour, '6h': 6 * hour, '24h': 24 * hour, '7d': 7 * 24 * hour, '30d': 30 * 24 * hour };

export function RangePicker() {
  const [span, setSpan] = useParam('span', '1h');
  return <SegmentedControl w="fit-content" maw="100%" aria-label={text.metrics.span} value={span} onChange={setSpan} data={Object.keys(spans).map((value) => ({ value, label: text.metrics.spans[value] ?? value }))} />;
}

export const useFrom = () => {
  const [span] = useParam('span', '1h');
  return { span, from: () => new Date(Date.now() - (spans[span] ?? hour)).toISOString() };
};

const mib = 1024 * 1024;
const perSecond = (step: number) => (n: number | undefined) => (n === undefined ? undefined : n / step);

/** The plots that an app and the whole platform have alike. */
export function Plots({ points, deploys, range, step, limit }: { points: MetricsPoint[]; deploys: DeployMark[]; range: [string, string]; step: number; limit?: number }) {
  const rate = perSecond(step);
  const plots: { title: string; unit?: string; lines: Line[] }[] = [
    { title: text.metrics.requests, unit: '/s', lines: [{ name: text.metrics.requests, of: (p) => rate(p.requests) }] },
    {
      title: text.metrics.latency,
      unit: ' ms',
      lines: [
        { name: text.metrics.p50, of: (p) => p.p50_ms },
        { name: text.metrics.p95, of: (p) => p.p95_ms },
        { name: text.metrics.p99, of: (p) => p.p99_ms },
      ],
    },
    {
      title: text.metrics.errors,
      lines: [
        { name: text.metrics.serverErrors, of: (p) => p.errors, bars: true },
        { name: text.metrics.refused, of: (p) => p.refused ?? 0, bars: true },
      ],
    },
    { title: text.metrics.cpu, lines: [{ name: text.metrics.cpu, of: (p) => p.cpu }] },
    {
      title: text.metrics.memory,
      unit: ' MiB',
      lines: [
        { name: text.metrics.memoryAll, of: (p) => p.memory_bytes && p.memory_bytes / mib },
        ...(limit === undefined
          ? []
          : [
              { name: text.metrics.memoryOne, of: (p: MetricsPoint) => p.replica_memory_bytes && p.replica_memory_bytes / mib },
              { name: text.metrics.limit, of: () => limit / mib },
            ]),
      ],
    },
    { title: text.metrics.viewers, lines: [{ name: text.metrics.viewers, of: (p) => p.viewers ?? 0, bars: true }] },
  ];
  return (
    <SimpleGrid cols={{ base: 1, lg: 2 }}>
      {plots.map((p) => (
        <Panel key={p.title} title={p.title}>
          <Plot {...p} points={points} deploys={deploys} range={range} />
        </Panel>
      ))}
    </SimpleGrid>
  );
}

export function Totals({ of }: { of: [string, string | number][] }) {
  return (
    <Group gap="xl">
      {of.map(([name, value]) => (
        <div key={name}>
          <Text size="xl" fw={650}>
            {typeof value === 'number' ? value.toLocaleString() : value}
          </Text>
          <Text size="sm" c="dimmed">
            {name}
          </Text>
        </div>
      ))}
    </Group>
  );
}

/** How an app was used, and what it used. */
export function Metrics() {
  const app = useThis();
  const { span, from } = useFrom();
  const metrics = useQuery({
    queryKey: ['app', app.name, 'metrics', span],
    queryFn: ({ signal }) => ask(api.GET('/v1/apps/{name}/metrics', { signal, params: { ...at(app.name), query: { from: from() } } })),
    placeholderData: keepPreviousData,
    refetchInterval: 30_000,
  });
  return (
    <Stack>
      <RangePicker />
      <Answer of={metrics} height={400}>
        {(m) => (
          <Stack>
            <Totals
              of={[
                [text.metrics.requests, m.requests],
                [text.metrics.serverErrors, m.errors],
                [text.metrics.viewers, m.viewers],
              ]}
            />
            <Plots points={m.points} deploys={m.deploys} range={[m.from, m.to]} step={m.step_seconds} limit={m.memory_limit_bytes} />
          </Stack>
        )}
      </Answer>
    </Stack>
  );
}
