import { accessible, expect, test, url } from './fixtures';

test('a person is made, found, changed and disabled', async ({ as }) => {
  const page = await as('admin', '/admin');
  await expect(page).toHaveURL(url('/admin/users'));
  await accessible(page);
  await page.getByRole('button', { name: 'Add user' }).click();
  const dialog = page.getByRole('dialog');
  await dialog.getByLabel('User name').fill('dora');
  await dialog.getByLabel('Full name').fill('Dora Lind');
  await dialog.getByRole('textbox', { name: 'Password' }).fill('dora-correct-horse');
  await dialog.getByLabel('Creator').check();
  await accessible(page);
  await dialog.getByRole('button', { name: 'Save' }).click();
  await page.getByRole('searchbox', { name: 'Search users' }).fill('dor');
  const row = page.getByRole('table', { name: 'Users' }).getByRole('row', { name: /dora/ });
  await expect(row).toContainText('Creator');
  await row.getByRole('button', { name: 'Edit dora' }).click();
  await dialog.getByLabel('Disabled').check();
  await dialog.getByRole('button', { name: 'Save' }).click();
  await expect(row).toContainText('Disabled');
});

test('an app is given to somebody else', async ({ as }) => {
  const page = await as('admin', '/admin/apps');
  await expect(page.getByRole('table', { name: 'App owners' })).toContainText('Churn explorer');
  await accessible(page);
  for (const owner of ['carol', 'alice']) {
    await page.getByLabel('Choose churn').check();
    await page.getByRole('combobox', { name: 'New owner' }).fill(owner);
    await page.getByRole('button', { name: 'Transfer' }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Transfer' }).click();
    await expect(page.getByRole('row', { name: /churn/i })).toContainText(owner);
  }
});

test('limits show their use and are changed', async ({ as }) => {
  const page = await as('admin', '/admin/limits');
  await expect(page.getByText('Replicas of one process')).toBeVisible();
  await accessible(page);
  await page.getByRole('button', { name: 'Change: Seats' }).click();
  await page.getByRole('dialog').getByLabel('At most').fill('50');
  await page.getByRole('dialog').getByRole('button', { name: 'Save' }).click();
  await expect(page.getByText(/of 50/)).toBeVisible();
});

test('the look is changed, and news are announced to everybody', async ({ as }) => {
  const page = await as('admin', '/admin/branding');
  await accessible(page);
  await page.getByLabel('Text').fill('The platform rests on Sunday.');
  await page.getByRole('button', { name: 'Announce' }).click();
  const bob = await as('bob');
  await expect(bob.getByRole('alert')).toContainText('rests on Sunday');
  await accessible(bob);
  await bob.getByRole('button', { name: 'Put away' }).click();
  await expect(bob.getByText('rests on Sunday')).toHaveCount(0);
  await page.getByRole('button', { name: 'Remove', exact: true }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Remove' }).click();
  await expect(page.getByText('The announcement is removed')).toBeVisible();
  await page.getByLabel('Name of this platform').fill('Harbour');
  await page.getByRole('button', { name: 'Save' }).first().click();
  await expect(page.getByRole('link', { name: 'Harbour' })).toBeVisible();
  await page.getByLabel('Name of this platform').fill('Slipway');
  await page.getByRole('button', { name: 'Save' }).first().click();
  await expect(page.getByRole('link', { name: 'Slipway' })).toBeVisible();
});

for (const [path, text] of [
  ['environment', 'Every app gets these'],
  ['usage', 'Time to answer'],
  ['audit', 'Export as CSV'],
  ['health', 'database'],
] as const) {
  test(`the page ${path} is there`, async ({ as }) => {
    const page = await as('admin', `/admin/${path}`);
    await expect(page.getByText(text).first()).toBeVisible();
    await accessible(page);
  });
}
