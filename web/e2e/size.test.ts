import { expect, test } from './fixtures';

test('a first visit to the App Manager transfers at most 350 kB', async ({ as, browserName }) => {
  expect(browserName).toBe('chromium');
  const page = await as('alice', '/apps');
  const client = await page.context().newCDPSession(page);
  await client.send('Network.enable');
  await client.send('Network.setCacheDisabled', { cacheDisabled: true });
  let sum = 0;
  client.on('Network.loadingFinished', (e) => (sum += e.encodedDataLength));
  await page.reload();
  await expect(page.getByRole('table', { name: 'Apps' })).toBeVisible();
  await page.waitForLoadState('load');
  console.log(`    ${Math.round(sum / 1000)} kB`);
  expect(sum).toBeGreaterThan(100_000);
  expect(sum).toBeLessThanOrEqual(350_000);
});
