import { Group, Stack } from '@mantine/core';
import { NavLink, Outlet } from 'react-router';

import css from '../apps/apps.module.css';
import { useMe, useRoles } from '../api/query';
import { NotFound } from '../shell/notfound';
import { text } from '../text';
import { Page } from '../ui/page';

const sections = ['users', 'apps', 'environment', 'limits', 'branding', 'usage', 'audit', 'health'] as const;

/** What is around the pages of administrators. For others they do not exist. */
export function Admin() {
  const me = useMe();
  const { admin } = useRoles();
  if (me.isPending) return null;
  if (!admin) return <NotFound />;
  return (
    <Page title={text.nav.admin} window={text.nav.admin}>
      <Stack gap="lg">
        <Group component="nav" className={css.tabs} aria-label={text.admin.sections} wrap="nowrap">
          {sections.map((s) => (
            <NavLink key={s} to={s} className={css.tab ?? ''}>
              {text.admin.section[s]}
            </NavLink>
          ))}
        </Group>
        <Outlet />
      </Stack>
    </Page>
  );
}
