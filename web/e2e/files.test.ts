import { readFileSync } from 'node:fs';

import { accessible, expect, test } from './fixtures';

test('files are put into ~/mount, found again, fetched and deleted', async ({ as }) => {
  const page = await as('alice', '/apps/weather/files');
  const table = page.getByRole('table', { name: 'Files' });
  await page.getByRole('button', { name: 'New folder' }).click();
  await page.getByLabel('Name of the folder').fill('readings');
  await accessible(page);
  await page.getByRole('dialog').getByRole('button', { name: 'Make folder' }).click();
  await page.getByRole('link', { name: 'readings' }).click();
  await expect(page).toHaveURL(/files\?path=readings/);
  await expect(page.getByRole('heading', { name: 'This folder is empty' })).toBeVisible();
  const body = '<script>document.title = "taken over"</script>\n'.repeat(1000);
  await page.locator('input[type=file]').setInputFiles([
    { name: 'page.html', mimeType: 'text/html', buffer: Buffer.from(body) },
    { name: 'a b & c.csv', mimeType: 'text/csv', buffer: Buffer.from('1,2\n') },
  ]);
  await expect(page.getByText('2 files are there')).toBeVisible();
  await expect(table.getByRole('row')).toHaveCount(3);
  await expect(table.getByRole('row', { name: /a b & c\.csv/ })).toContainText('4 B');
  await accessible(page);

  const loading = page.waitForEvent('download');
  await page.getByRole('link', { name: 'Download page.html' }).click();
  const file = await loading;
  expect(file.suggestedFilename()).toBe('page.html');
  expect(readFileSync(await file.path(), 'utf8')).toBe(body);

  await page.getByRole('button', { name: 'Delete page.html' }).click();
  await expect(page.getByRole('dialog')).toContainText('~/mount/readings/page.html is lost');
  await page.getByRole('dialog').getByRole('button', { name: 'Delete' }).click();
  await expect(table.getByRole('row')).toHaveCount(2);

  await page.getByRole('link', { name: '~/mount' }).click();
  await page.getByRole('button', { name: 'Delete readings' }).click();
  const dialog = page.getByRole('dialog');
  await expect(dialog).toContainText('everything in it');
  await dialog.getByLabel('Type readings to go on').fill('readings');
  await dialog.getByRole('button', { name: 'Delete' }).click();
  await expect(page.getByText('readings is deleted')).toBeVisible();
  await expect(page.getByRole('link', { name: 'readings' })).toHaveCount(0);
});

test('a dropped folder is uploaded with what is in it', async ({ as }) => {
  const page = await as('alice', '/apps/weather/files');
  const zone = await page.getByRole('heading', { name: 'This folder is empty' }).boundingBox();
  const client = await page.context().newCDPSession(page);
  const at = { x: (zone?.x ?? 0) + 5, y: (zone?.y ?? 0) + 5, data: { items: [], files: [new URL('../../test/apps/weather', import.meta.url).pathname], dragOperationsMask: 1 } };
  for (const type of ['dragEnter', 'dragOver', 'drop'] as const) await client.send('Input.dispatchDragEvent', { type, ...at });
  await page.getByRole('link', { name: 'weather', exact: true }).click();
  await expect(page.getByRole('table', { name: 'Files' })).toContainText('worker.py');
});

test.describe('an app of which nothing runs', () => {
  test.use({ allowed: /status of 409/ });
  test('tells what to do to see its files', async ({ as }) => {
    const page = await as('alice', '/apps/churn/files');
    await expect(page.getByRole('alert')).toContainText(/deploy it first/i);
    await accessible(page);
  });
});

test.describe('a viewer', () => {
  test.use({ allowed: /status of 40[34]/ });
  test('does not see the files of an app', async ({ as }) => {
    const page = await as('bob', '/apps/weather/files');
    await expect(page.getByText('Download')).toHaveCount(0);
    await expect(page.getByRole('alert').or(page.getByRole('heading', { name: 'Not found' })).first()).toBeVisible();
  });
});
