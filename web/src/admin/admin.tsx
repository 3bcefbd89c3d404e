import { Stack } from '@mantine/core';
import { Outlet } from 'react-router';

import { useMe, useRoles } from '../api/query';
import { NotFound } from '../shell/notfound';
import { text } from '../text';
import { Page } from '../ui/page';
import { Sections } from '../ui/sections';

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
        <Sections label={text.admin.sections} of={sections.map((s) => ({ to: s, name: text.admin.section[s] }))} />
        <Outlet />
      </Stack>
    </Page>
  );
}
