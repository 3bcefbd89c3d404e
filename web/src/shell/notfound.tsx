import { Button, Text } from '@mantine/core';
import { Link, useRouteError } from 'react-router';

import { text } from '../text';
import { Empty } from '../ui/empty';
import { useTitle } from '../ui/page';

export function NotFound() {
  useTitle(text.notFound.title);
  return (
    <Empty title={text.notFound.title}>
      <Text c="dimmed">{text.notFound.why}</Text>
      <Button component={Link} to="/portal" mt="sm">
        {text.notFound.back}
      </Button>
    </Empty>
  );
}

/** A page that failed: mostly one that was loaded before an upgrade and now lacks its files. */
export function Crash() {
  const error = useRouteError();
  useTitle(text.crash.title);
  return (
    <Empty title={text.crash.title}>
      <Text c="dimmed">{text.crash.why}</Text>
      <Text size="xs" className="mono" c="dimmed">
        {error instanceof Error ? error.message : ''}
      </Text>
      <Button mt="sm" onClick={() => window.location.reload()}>
        {text.crash.reload}
      </Button>
    </Empty>
  );
}
