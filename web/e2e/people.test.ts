import { accessible, expect, test } from './fixtures';

test('a token is shown once, and revoked', async ({ as }) => {
  const page = await as('alice', '/profile');
  await accessible(page);
  await page.getByLabel('Token name').fill('pipeline');
  await page.getByRole('button', { name: 'Make a token' }).click();
  await expect(page.getByText('Copy your new token now')).toBeVisible();
  await expect(page.getByRole('table', { name: 'API tokens' })).toContainText('pipeline');
  await accessible(page);
  await page.reload();
  await expect(page.getByRole('table', { name: 'API tokens' })).toContainText('pipeline');
  await expect(page.getByText('Copy your new token now')).toHaveCount(0);
  await page.getByRole('button', { name: 'Revoke pipeline' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Revoke' }).click();
  await expect(page.getByRole('button', { name: 'Revoke pipeline' })).toHaveCount(0);
});

test.describe('a password that is too short', () => {
  test.use({ allowed: /status of 422/ });
  test('is refused at its field', async ({ as }) => {
    const page = await as('carol', '/profile');
    await page.getByLabel('Present password').fill('carol-correct-horse');
    await page.getByLabel('New password').fill('short');
    await page.getByRole('button', { name: 'Change password' }).click();
    await expect(page.getByText(/10 characters/).last()).toBeVisible();
    await expect(page.getByText(/^Id [\w-]{10,}$/)).toBeVisible();
  });
});
