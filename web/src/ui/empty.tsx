import { Card, Stack, Text, Title } from '@mantine/core';
import type { ReactNode } from 'react';

/** What is shown where there is nothing yet: why, and what to do about it. */
export function Empty({ title, children, icon, order = 2 }: { title: string; children?: ReactNode; icon?: ReactNode; order?: 1 | 2 }) {
  return (
    <Card py={48}>
      <Stack align="center" gap="xs" maw={560} mx="auto" ta="center" w="100%">
        {icon}
        <Title order={order} size="h4">
          {title}
        </Title>
        {typeof children === 'string' ? <Text c="dimmed">{children}</Text> : children}
      </Stack>
    </Card>
  );
}
