import { Card, Group, Skeleton, Stack, Text, Title } from '@mantine/core';
import type { ReactNode } from 'react';

import { ProblemBox } from './problem';

/** A part of a page with a heading. */
export function Panel({ title, note, actions, children }: { title?: string; note?: ReactNode; actions?: ReactNode; children: ReactNode }) {
  return (
    <Card component="section" aria-label={title}>
      <Stack gap="md">
        {(title !== undefined || actions !== undefined) && (
          <Group justify="space-between" align="flex-start">
            <div>
              {title !== undefined && (
                <Title order={2} size="h4">
                  {title}
                </Title>
              )}
              {note !== undefined && (
                <Text c="dimmed" size="sm" maw={640}>
                  {note}
                </Text>
              )}
            </div>
            {actions}
          </Group>
        )}
        {children}
      </Stack>
    </Card>
  );
}

interface Asked<T> {
  data: T | undefined;
  error: Error | null;
  refetch: () => unknown;
}

/** What a query answered; a shape of it while it is awaited, and the problem when there is one. */
export function Answer<T>({ of, children, height = 160 }: { of: Asked<T>; children: (data: T) => ReactNode; height?: number }) {
  return (
    <>
      {of.error !== null && <ProblemBox error={of.error} retry={of.refetch} />}
      {of.data !== undefined ? children(of.data) : of.error === null && <Skeleton height={height} radius="lg" />}
    </>
  );
}

/** A list of names with their values. */
export function Facts({ of }: { of: [string, ReactNode][] }) {
  return (
    <dl className="facts">
      {of.map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}
