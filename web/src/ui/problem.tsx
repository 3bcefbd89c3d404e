import { Alert, Button, Group, Text } from '@mantine/core';
import { IconAlertTriangle } from '@tabler/icons-react';

import { asProblem } from '../api/query';
import { text } from '../text';

/** An error: what it says, what to do, and the id by which it is in the platform's log. */
export function ProblemBox({ error, retry, skip = [] }: { error: unknown; retry?: () => unknown; skip?: string[] }) {
  if (error === null || error === undefined) return null;
  const p = asProblem(error);
  const fields = Object.entries(p.fields).filter(([name]) => !skip.includes(name));
  return (
    <Alert role="alert" color="red" variant="light" title={text.problem.title(p.kind)} icon={<IconAlertTriangle aria-hidden />}>
      <Text size="sm" c="var(--mantine-color-text)">{p.message}</Text>
      {fields.map(([name, message]) => (
        <Text size="sm" key={name} c="var(--mantine-color-text)">
          <b>{name}</b>: {message}
        </Text>
      ))}
      <Group mt={4} gap="md">
        {p.id !== undefined && (
          <Text size="xs" className="mono" c="var(--mantine-color-text)">
            {text.problem.id(p.id)}
          </Text>
        )}
        {retry !== undefined && (
          <Button size="compact-sm" variant="default" onClick={() => void retry()}>
            {text.retry}
          </Button>
        )}
      </Group>
    </Alert>
  );
}
