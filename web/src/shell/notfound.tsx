import { Button, Text } from '@mantine/core';
import { Link, useRouteError } from 'react-router';

import { text } from '../text';
import { Empty } from '../ui/empty';
import { useTitle } from '../ui/page';
import { Outdated } from './outdated';

export function NotFound() {
  useTitle(text.notFound.title);
  return (
    <Empty title={text.notFound.title} order={1}>
      <Text c="dimmed">{text.notFound.why}</Text>
      <Button component={Link} to="/portal" mt="sm">
        {text.notFound.back}
      </Button>
    </Empty>
  );
}

/** A page that failed; after an upgrade, because the files of the UI that is open are gone. */
export function Crash() {
  const error = useRouteError();
  const words = error instanceof Outdated ? text.outdated : text.crash;
  useTitle(words.title);
  return (
    <Empty title={words.title} order={1}>
      <Text c="dimmed">{words.why}</Text>
      <Text size="xs" className="mono" c="dimmed">
        {error instanceof Error ? error.message : ''}
      </Text>
      <Button mt="sm" onClick={() => window.location.reload()}>
        {text.crash.reload}
      </Button>
    </Empty>
  );
}
