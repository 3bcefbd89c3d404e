import { Button, Loader, Modal, Text } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { useSyncExternalStore } from 'react';

import { api, ask, connection } from '../api/client';
import { queries } from '../api/query';
import { text } from '../text';
import css from './shell.module.css';

/** Says when the platform does not answer, and asks until it does; then everything shown is asked for again. */
export function Connection() {
  const link = useSyncExternalStore(connection.subscribe, connection.get);
  useQuery({
    queryKey: ['back'],
    enabled: link === 'away',
    refetchInterval: 1000,
    retry: false,
    gcTime: 0,
    queryFn: async ({ signal }) => {
      await ask(api.GET('/v1/status', { signal }));
      void queries.invalidateQueries({ predicate: (q) => q.queryKey[0] !== 'back' });
      return true;
    },
  });
  if (link === 'signed-out') {
    return (
      <Modal opened onClose={() => undefined} withCloseButton={false} title={text.signedOut.title}>
        <Text mb="md">{text.signedOut.why}</Text>
        <Button onClick={() => window.location.reload()} data-autofocus>
          {text.signedOut.signIn}
        </Button>
      </Modal>
    );
  }
  if (link === 'here') return null;
  return (
    <div role="status" className={css.banner}>
      <Loader size={14} color="currentColor" />
      {text.problem.reconnecting}
    </div>
  );
}
