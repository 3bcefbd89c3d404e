import { ActionIcon, AppShell, Avatar, Burger, Drawer, Group, Menu, NavLink as Item, Stack, Text, Tooltip, UnstyledButton, useComputedColorScheme, useMantineColorScheme } from '@mantine/core';
import { useDisclosure } from '@mantine/hooks';
import { IconApps, IconLayoutGrid, IconLogout, IconMoon, IconShieldCog, IconSun, IconUser } from '@tabler/icons-react';
import { Suspense, useEffect, useRef } from 'react';
import { Link, NavLink, Outlet, ScrollRestoration, useLocation } from 'react-router';

import { useChanges, useMe, useRoles } from '../api/query';
import { text } from '../text';
import { ProblemBox } from '../ui/problem';
import { Tile } from '../ui/tile';
import { useAccent } from './accent';
import { Announcements } from './announcements';
import { Connection } from './connection';
import css from './shell.module.css';

// The pages that come before this UI show it too.
const mark = '/_slipway/mark.svg';

function useSections() {
  const { apps, admin } = useRoles();
  return [
    { to: '/portal', label: text.nav.portal, icon: IconLayoutGrid },
    ...(apps || admin ? [{ to: '/apps', label: text.nav.apps, icon: IconApps }] : []),
    ...(admin ? [{ to: '/admin', label: text.nav.admin, icon: IconShieldCog }] : []),
  ];
}

function Scheme() {
  const { setColorScheme } = useMantineColorScheme();
  const dark = useComputedColorScheme('light') === 'dark';
  const label = dark ? text.nav.light : text.nav.dark;
  return (
    <Tooltip label={label}>
      <ActionIcon variant="subtle" color="gray" size="lg" aria-label={label} onClick={() => setColorScheme(dark ? 'light' : 'dark')}>
        {dark ? <IconSun size={20} /> : <IconMoon size={20} />}
      </ActionIcon>
    </Tooltip>
  );
}

function Account() {
  const me = useMe();
  const user = me.data?.user;
  if (user === undefined) return <Avatar size={32} radius="xl" />;
  return (
    <Menu position="bottom-end" width={240} withinPortal>
      <Menu.Target>
        <UnstyledButton className={css.account} aria-label={text.nav.account(user.name)}>
          <Tile name={user.name} size={32} />
          <Text size="sm" fw={550} visibleFrom="sm">
            {user.name}
          </Text>
        </UnstyledButton>
      </Menu.Target>
      <Menu.Dropdown>
        <Menu.Label>
          <Text fw={600} size="sm" c="var(--mantine-color-text)">
            {user.full_name ?? user.name}
          </Text>
          {user.email !== undefined && <Text size="xs">{user.email}</Text>}
        </Menu.Label>
        <Menu.Divider />
        <Menu.Item component={Link} to="/profile" leftSection={<IconUser size={16} />}>
          {text.nav.profile}
        </Menu.Item>
        <Menu.Item component="a" href="/_slipway/logout" leftSection={<IconLogout size={16} />}>
          {text.nav.signOut}
        </Menu.Item>
      </Menu.Dropdown>
    </Menu>
  );
}

/** What is around every page: brand, navigation, account, and how the connection is. */
export function Shell() {
  const [opened, menu] = useDisclosure(false);
  const sections = useSections();
  const me = useMe();
  useChanges();
  const brand = me.data?.branding;
  useAccent(brand?.accent);
  const logo = brand?.logo === undefined ? mark : `/v1/branding/logo?v=${brand.logo}`;
  const { pathname } = useLocation();
  const main = useRef<HTMLElement>(null);
  const first = useRef(true);
  useEffect(() => {
    // After a change of page the keyboard goes on at its content, and screen readers say where they are.
    if (first.current) first.current = false;
    else main.current?.focus({ preventScroll: true });
  }, [pathname]);
  return (
    <AppShell header={{ height: 60 }} padding={0}>
      <a className="skip" href="#main">
        {text.nav.skip}
      </a>
      <AppShell.Header className={css.header}>
        <Group gap="md" wrap="nowrap">
          <Burger opened={opened} onClick={menu.toggle} hiddenFrom="sm" size="sm" aria-label={text.nav.menu} />
          <Link to="/portal" className={css.brand}>
            <img src={logo} alt="" height={28} />
            {brand?.name ?? text.brand}
          </Link>
          <Group component="nav" aria-label={text.nav.main} gap={4} visibleFrom="sm" ml="sm">
            {sections.map((s) => (
              <NavLink key={s.to} to={s.to} className={css.link ?? ''}>
                {s.label}
              </NavLink>
            ))}
          </Group>
        </Group>
        <Group gap="xs" wrap="nowrap">
          <Scheme />
          <Account />
        </Group>
      </AppShell.Header>
      <Drawer opened={opened} onClose={menu.close} title={text.brand} size={280} hiddenFrom="sm" closeButtonProps={{ 'aria-label': text.close }}>
        <Stack component="nav" aria-label={text.nav.main} gap={4}>
          {sections.map((s) => (
            <Item key={s.to} component={NavLink} to={s.to} label={s.label} leftSection={<s.icon size={18} />} onClick={menu.close} />
          ))}
        </Stack>
      </Drawer>
      <AppShell.Main id="main" ref={main} tabIndex={-1}>
        <Connection />
        <Announcements />
        <div className={css.content}>
          {me.error !== null && <ProblemBox error={me.error} retry={me.refetch} />}
          <Suspense>
            <Outlet />
          </Suspense>
        </div>
      </AppShell.Main>
      <ScrollRestoration />
    </AppShell>
  );
}
