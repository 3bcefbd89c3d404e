import { expect, test, url } from './fixtures';

const folder = new URL('../../test/apps/weather', import.meta.url).pathname;

test('a folder is dropped, and deployed', async ({ as }) => {
  const page = await as('alice', '/apps/new');
  await page.getByLabel('Name').fill('dropped');
  await page.getByRole('button', { name: 'Create app' }).click();
  await page.getByText('Upload', { exact: true }).click();
  const zone = await page.getByText('Drop the folder').boundingBox();
  const client = await page.context().newCDPSession(page);
  const at = { x: (zone?.x ?? 0) + 5, y: (zone?.y ?? 0) + 5, data: { items: [], files: [folder], dragOperationsMask: 1 } };
  for (const type of ['dragEnter', 'dragOver', 'drop'] as const) await client.send('Input.dispatchDragEvent', { type, ...at });
  await expect(page).toHaveURL(new RegExp(`^${url('/apps/dropped/deploys/')}`));
  await expect(page.getByText('dropped v1 is live')).toBeVisible({ timeout: 180_000 });
  await page.getByRole('link', { name: 'Processes' }).click();
  await expect(page.getByRole('region', { name: 'worker' })).toBeVisible();
});
