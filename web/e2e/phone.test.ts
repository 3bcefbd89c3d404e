import { expect, test, url } from './fixtures';

test.use({ viewport: { width: 390, height: 844 } });

test('on a phone the menu is a drawer', async ({ as }) => {
  const page = await as('alice');
  await page.getByRole('button', { name: 'Menu' }).click();
  await page.getByRole('dialog').getByRole('link', { name: 'Apps' }).click();
  await expect(page).toHaveURL(url('/apps'));
  await expect(page.getByRole('dialog')).toHaveCount(0);
});

const app = ['', '/deploys', '/logs', '/metrics', '/access', '/environment', '/processes', '/files', '/portal', '/settings'].map((tab) => `/apps/weather${tab}`);
const admin = ['users', 'apps', 'environment', 'limits', 'branding', 'usage', 'audit', 'health'].map((section) => `/admin/${section}`);

for (const [who, paths] of [
  ['alice', ['/portal', '/apps', '/apps/new', '/apps/weather/compare?from=1&to=2', '/profile', ...app]],
  ['admin', admin],
] as const) {
  test(`no page of ${who} is wider than a phone`, async ({ as }) => {
    const page = await as(who, paths[0]);
    for (const path of paths) {
      await page.goto(url(path));
      await expect(page.getByRole('heading', { level: 1 })).toBeVisible();
      await expect(page.locator('.mantine-Skeleton-root')).toHaveCount(0);
      const { wide, width } = await page.evaluate(() => ({ wide: document.documentElement.scrollWidth, width: window.innerWidth }));
      expect(wide, `width of ${path}`).toBeLessThanOrEqual(width);
      for (const part of await page.getByRole('table').or(page.locator('main nav [aria-current="page"]')).all()) {
        const box = await part.boundingBox();
        expect(box && box.x >= 0 && box.x + box.width <= width, `${path} has a part beyond the screen`).toBe(true);
      }
    }
  });
}
