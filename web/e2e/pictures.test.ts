import { expect, test, url } from './fixtures';

const pages: [string, 'admin' | 'alice', string][] = [
  ['portal', 'alice', '/portal'],
  ['apps', 'alice', '/apps'],
  ['new', 'alice', '/apps/new'],
  ['overview', 'alice', '/apps/weather'],
  ['deploys', 'alice', '/apps/weather/deploys'],
  ['compare', 'alice', '/apps/weather/compare?from=1&to=2'],
  ['logs', 'alice', '/apps/weather/logs'],
  ['metrics', 'alice', '/apps/weather/metrics'],
  ['access', 'alice', '/apps/weather/access'],
  ['environment', 'alice', '/apps/weather/environment'],
  ['processes', 'alice', '/apps/weather/processes'],
  ['files', 'alice', '/apps/weather/files'],
  ['portal-info', 'alice', '/apps/weather/portal'],
  ['settings', 'alice', '/apps/weather/settings'],
  ['profile', 'alice', '/profile'],
  ...(['users', 'apps', 'environment', 'limits', 'branding', 'usage', 'audit', 'health'] as const).map(
    (s): [string, 'admin', string] => [`admin-${s}`, 'admin', `/admin/${s}`],
  ),
];

const looks = [
  { look: 'light', size: { width: 1280, height: 800 }, colorScheme: 'light' },
  { look: 'dark', size: { width: 1280, height: 800 }, colorScheme: 'dark' },
  { look: 'phone', size: { width: 390, height: 844 }, colorScheme: 'light' },
] as const;

for (const { look, size, colorScheme } of looks) {
  test(`pictures: ${look}`, async ({ as, page: stranger }) => {
    test.setTimeout(600_000);
    await stranger.emulateMedia({ colorScheme });
    await stranger.setViewportSize(size);
    await stranger.goto(url('/portal'));
    await stranger.screenshot({ path: `pictures/sign-in-${look}.png` });
    const open = { alice: await as('alice'), admin: await as('admin') };
    for (const [name, who, path] of pages) {
      const page = open[who];
      await page.emulateMedia({ colorScheme });
      await page.setViewportSize(size);
      await page.goto(url(path));
      await expect(page.getByRole('heading', { level: 1 })).toBeVisible();
      await expect(page.locator('.mantine-Skeleton-root')).toHaveCount(0);
      if (/metrics|usage/.test(name)) await expect(page.locator('.main-svg').first()).toBeVisible();
      if (name === 'logs') await expect(page.getByRole('log')).toContainText('observation');
      await page.screenshot({ path: `pictures/${name}-${look}.png`, fullPage: true });
    }
    const { alice } = open;
    await alice.goto(url('/apps/weather/deploys'));
    await alice.getByRole('link', { name: 'Move the entry point' }).click();
    await expect(alice.getByRole('list', { name: 'Steps' }).getByRole('listitem').first()).toBeVisible();
    await alice.screenshot({ path: `pictures/deploy-${look}.png`, fullPage: true });
  });
}
