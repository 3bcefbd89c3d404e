import { Alert, Stack } from '@mantine/core';
import { useLocalStorage } from '@mantine/hooks';
import { IconAlertTriangle, IconInfoCircle } from '@tabler/icons-react';

import { useMe } from '../api/query';
import { text } from '../text';
import css from './shell.module.css';

/** What administrators have to say, until it is put away, and which limits are near. */
export function Announcements() {
  const me = useMe();
  const [away, setAway] = useLocalStorage<string[]>({ key: 'slipway-read', defaultValue: [] });
  const news = (me.data?.announcements ?? []).filter((a) => !away.includes(a.id));
  const warnings = me.data?.warnings ?? [];
  if (news.length + warnings.length === 0) return null;
  return (
    <Stack gap="xs" className={css.news}>
      {news.map((a) => (
        <Alert
          key={a.id}
          color={a.level === 'warning' ? 'orange' : 'blue'}
          icon={a.level === 'warning' ? <IconAlertTriangle aria-hidden /> : <IconInfoCircle aria-hidden />}
          withCloseButton
          closeButtonLabel={text.news.read}
          onClose={() => setAway([...away.slice(-50), a.id])}
        >
          {a.text}
        </Alert>
      ))}
      {warnings.map((w) => (
        <Alert key={w.limit} color={w.level === 'reached' ? 'red' : 'orange'} icon={<IconAlertTriangle aria-hidden />}>
          {w.text}
        </Alert>
      ))}
    </Stack>
  );
}
