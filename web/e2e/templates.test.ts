import { accessible, expect, test } from './fixtures';

test('a new app begins with a template', async ({ as }) => {
  const page = await as('alice', '/apps/new');
  await page.getByLabel('Name').fill('waves');
  await page.getByRole('button', { name: 'Create app' }).click();
  await expect(page.getByRole('heading', { name: 'waves is made' })).toBeVisible();
  await page.getByText('Template', { exact: true }).click();
  const templates = page.getByRole('list', { name: 'Templates' });
  await expect(templates.getByRole('listitem')).toHaveCount(4);
  await expect(templates).toContainText('Streamlit');
  await accessible(page);
  await page.getByRole('button', { name: 'Begin with Dash', exact: true }).click();
  await expect(page.getByRole('heading', { name: 'Deploy 1' })).toBeVisible();
  await expect(page.getByText('Begin from the template dash').first()).toBeVisible();
  await expect(page.getByText('waves v1 is live')).toBeVisible({ timeout: 100_000 });
});
