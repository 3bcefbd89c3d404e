import { accessible, expect, stage, test, url } from './fixtures';

test('a stranger signs in and comes to where they wanted', async ({ page }) => {
  await page.goto(url('/portal?q=wea'));
  await expect(page).toHaveURL(new RegExp(`^${stage.auth}/login`));
  await expect(page.getByRole('heading', { name: 'Sign in' })).toBeVisible();
  await page.getByLabel('User name').fill('bob');
  await page.getByLabel('Password').fill(stage.people.bob ?? '');
  await page.keyboard.press('Enter');
  await expect(page).toHaveURL(url('/portal?q=wea'));
  await expect(page.getByRole('searchbox', { name: 'Search apps' })).toHaveValue('wea');
});

test('bob sees the app that is shared with him, keeps it, and opens it', async ({ as }) => {
  const page = await as('bob');
  const cards = page.getByRole('list', { name: 'Portal' }).getByRole('listitem');
  await expect(cards).toHaveCount(1);
  await expect(cards).toContainText('by alice');
  await expect(page.getByRole('link', { name: 'Admin' })).toHaveCount(0);
  await accessible(page);
  await page.getByRole('button', { name: 'Favourite: Weather' }).click();
  await expect(page.getByRole('button', { name: 'Favourite: Weather' })).toHaveAttribute('aria-pressed', 'true');
  await page.getByText('Favourites').click();
  await expect(page).toHaveURL(/show=favourites/);
  await expect(cards).toHaveCount(1);
  await page.getByRole('link', { name: 'Weather' }).click();
  await expect(page.getByText(/Sunny, 2[45] degrees/)).toBeVisible();
});

test('search as you type keeps itself in the address', async ({ as }) => {
  const page = await as('alice');
  const cards = page.getByRole('list', { name: 'Portal' }).getByRole('listitem');
  await expect(cards).not.toHaveCount(1);
  await page.getByRole('searchbox', { name: 'Search apps' }).fill('weath');
  await expect(cards).toHaveCount(1);
  await expect(page).toHaveURL(/q=weath/);
  await page.reload();
  await expect(cards).toHaveCount(1);
  await page.getByRole('searchbox', { name: 'Search apps' }).fill('nothing like it');
  await expect(page.getByRole('heading', { name: 'Nothing found for “nothing like it”' })).toBeVisible();
  await accessible(page);
  await page.getByRole('link', { name: 'Show all of them' }).click();
  await expect(cards).not.toHaveCount(0);
});

test('the next cards come before the end is reached', async ({ as }) => {
  const page = await as('alice');
  const asked: string[] = [];
  await page.route('**/v1/portal?*', (r) => {
    asked.push(r.request().url());
    return r.continue({ url: r.request().url().replace(/limit=\d+/, 'limit=1') });
  });
  await page.goto(url('/portal'));
  const cards = page.getByRole('list', { name: 'Portal' }).getByRole('listitem');
  await expect(cards.filter({ hasText: 'Weather' })).toHaveCount(1);
  await expect(cards.filter({ hasText: 'Sales by region' })).toHaveCount(1);
  await expect(page.getByRole('button', { name: 'Show more' })).toHaveCount(0);
  expect(asked.filter((u) => u.includes('cursor=')).length).toBeGreaterThan(0);
});

test('carol, who has no app, is told what to do', async ({ as }) => {
  const page = await as('carol');
  await expect(page.getByRole('heading', { name: 'No apps yet' })).toBeVisible();
  await accessible(page);
});

test.describe('what is not there', () => {
  test.use({ allowed: /status of 404/ });
  test('is not found', async ({ as }) => {
    const page = await as('bob', '/apps/nothing/like/it');
    await expect(page.getByRole('heading', { name: 'Not found' })).toBeVisible();
    await page.goto(url('/admin/users'));
    await expect(page.getByRole('heading', { name: 'Not found' })).toBeVisible();
    await accessible(page);
  });
});
