import { Group, Stack, Title } from '@mantine/core';
import { useEffect, type ReactNode } from 'react';

import { text } from '../text';

/** A page: its heading, what can be done on it, and the window's title. */
export function Page({ title, window: name, aside, actions, children }: {
  title: ReactNode;
  window: string;
  aside?: ReactNode;
  actions?: ReactNode;
  children: ReactNode;
}) {
  useTitle(name);
  return (
    <Stack gap="lg">
      <Group justify="space-between" gap="md">
        <Group gap="sm" wrap="nowrap" miw={0}>
          <Title order={1} size="h2">
            {title}
          </Title>
          {aside}
        </Group>
        {actions !== undefined && <Group gap="sm">{actions}</Group>}
      </Group>
      {children}
    </Stack>
  );
}

export function useTitle(name: string) {
  useEffect(() => {
    document.title = `${name} · ${text.brand}`;
  }, [name]);
}
