import { accessible, crashCore, expect, test, url } from './fixtures';

test.describe('an answer that fails', () => {
  test.use({ allowed: /status of 500/ });
  test('is shown with its id, and tried again on demand', async ({ as }) => {
    const page = await as('alice', '/apps/weather');
    await page.route('**/v1/apps/weather/env*', (r) =>
      r.fulfill({ status: 500, contentType: 'application/problem+json', body: JSON.stringify({ title: 'Internal Server Error', status: 500, kind: 'internal', detail: 'the disk is on fire', request_id: 'req-0123456789' }) }),
    );
    await page.getByRole('link', { name: 'Environment' }).click();
    const alert = page.getByRole('alert').filter({ hasText: 'Something went wrong' });
    await expect(alert).toContainText('The disk is on fire.');
    await expect(alert).toContainText('Id req-0123456789');
    await accessible(page);
    await alert.getByRole('button', { name: 'Try again' }).click();
    await expect(alert).toBeVisible();
    await page.unroute('**/v1/apps/weather/env*');
    await alert.getByRole('button', { name: 'Try again' }).click();
    await expect(page.getByRole('table', { name: 'Environment variables' })).toContainText('Kew');
    await expect(alert).toHaveCount(0);
  });
});

test.describe('a connection that breaks', () => {
  test.use({ allowed: /net::ERR_/ });
  test('keeps what was asked for, and does it when it is tried again', async ({ as }) => {
    const page = await as('alice');
    const star = page.getByRole('button', { name: 'Favourite: Weather' });
    await expect(star).toHaveAttribute('aria-pressed', 'false');
    await page.route('**/v1/**', (r) => r.abort('connectionreset'));
    await star.click();
    const notice = page.getByRole('alert').filter({ hasText: 'No connection' });
    await expect(notice).toContainText('cannot be reached');
    await expect(page.getByRole('status')).toContainText('Trying again');
    await expect(star).toHaveAttribute('aria-pressed', 'false');
    await accessible(page);
    await page.unroute('**/v1/**');
    await notice.getByRole('button', { name: 'Try again' }).click();
    await expect(star).toHaveAttribute('aria-pressed', 'true');
    await expect(notice).toHaveCount(0);
    await expect(page.getByText('Trying again')).toHaveCount(0);
    await star.click();
    await expect(star).toHaveAttribute('aria-pressed', 'false');
  });
});

test.describe('an upgrade while a page is open', () => {
  test.use({ allowed: /status of 404|dynamically imported module/ });
  test('is told where a part of the page is gone, with the offer to load it again', async ({ as }) => {
    const page = await as('alice', '/portal');
    await expect(page.getByRole('list', { name: 'Portal' })).toBeVisible();
    await page.route('**/assets/*.js', (r) => r.fulfill({ status: 404, contentType: 'text/plain', body: 'gone' }));
    await page.getByRole('link', { name: 'Apps', exact: true }).click();
    await expect(page.getByRole('heading', { name: 'Load this page again' })).toBeVisible();
    await accessible(page);
    await page.unroute('**/assets/*.js');
    await page.getByRole('button', { name: 'Load again' }).click();
    await expect(page.getByRole('table', { name: 'Apps' })).toBeVisible();
    await expect(page).toHaveURL(url('/apps'));
  });
});

test('two tabs show the same', async ({ as }) => {
  const [one, two] = [await as('alice', '/apps/sales/portal'), await as('alice', '/apps')];
  const row = two.getByRole('table', { name: 'Apps' }).getByRole('row', { name: /sales/ });
  await expect(row).toContainText('Sales by region');
  for (const title of ['Sales of the year', 'Sales by region']) {
    await one.getByLabel('Title').fill(title);
    await one.getByRole('button', { name: 'Save' }).click();
    await expect(row).toContainText(title);
  }
});

test.describe('a core that was killed', () => {
  test.use({ allowed: /status of 50[234]|net::ERR_/ });
  test('is found again by every page without loading it again', async ({ as }) => {
    const [one, two] = [await as('alice', '/apps/churn/portal'), await as('alice', '/apps/churn')];
    await expect(two.getByRole('heading', { level: 1, name: 'Churn explorer' })).toBeVisible();
    const loads: string[] = [];
    for (const page of [one, two]) page.on('load', () => loads.push(page.url()));
    crashCore();
    await one.getByLabel('Title').fill('Churn atlas');
    await expect(async () => {
      await one.getByRole('button', { name: 'Save' }).click();
      await expect(one.getByText('Saved').first()).toBeVisible({ timeout: 3000 });
    }).toPass({ timeout: 120_000 });
    await expect(two.getByRole('heading', { level: 1, name: 'Churn atlas' })).toBeVisible();
    await one.getByLabel('Title').fill('Churn explorer');
    await one.getByRole('button', { name: 'Save' }).click();
    await expect(two.getByRole('heading', { level: 1, name: 'Churn explorer' })).toBeVisible();
    expect(loads).toEqual([]);
  });
});
