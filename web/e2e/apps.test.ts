import { accessible, crashCore, expect, stage, test, url } from './fixtures';

test('the list sorts, narrows and keeps that in the address', async ({ as }) => {
  const page = await as('alice', '/apps');
  const rows = page.getByRole('table', { name: 'Apps' }).getByRole('row');
  await expect(rows.filter({ hasText: 'Weather' })).toContainText('Running');
  await accessible(page);
  await page.getByRole('button', { name: 'App', exact: true }).click();
  await expect(page).toHaveURL(/sort=-name/);
  await expect(rows.nth(1)).toContainText('Weather');
  await page.getByRole('combobox', { name: 'State' }).click();
  await page.getByRole('option', { name: 'Running' }).click();
  await expect(rows.filter({ hasText: 'No release yet' })).toHaveCount(0);
  await expect(page).toHaveURL(/state=running/);
  await page.reload();
  await expect(rows.filter({ hasText: 'Weather' })).toBeVisible();
  await expect(rows.filter({ hasText: 'No release yet' })).toHaveCount(0);
});

test.describe('a name that is refused, and one that is not', () => {
  test.use({ allowed: /status of 422/ });
  test('a new app is made, its commands are shown, and a folder is uploaded', async ({ as }) => {
    const page = await as('alice', '/apps/new');
    await page.getByLabel('Name').fill('Portal');
    await page.getByRole('button', { name: 'Create app' }).click();
    await expect(page.getByText(/reserved/).first()).toBeVisible();
    await accessible(page);
    await page.getByLabel('Name').fill('tides');
    await page.getByLabel('Title').fill('Tides');
    await page.getByRole('button', { name: 'Create app' }).click();
    await expect(page.getByRole('heading', { name: 'tides is made' })).toBeVisible();
    await expect(page.getByText(`git remote add slipway ${stage.git}/tides`).first()).toBeVisible();
    await accessible(page);
    await page.getByText('Upload', { exact: true }).click();
    await page.locator('input[type=file]:not([webkitdirectory])').setInputFiles([
      { name: 'Procfile', mimeType: 'text/plain', buffer: Buffer.from('web: python app.py\n') },
      { name: 'requirements.txt', mimeType: 'text/plain', buffer: Buffer.from('') },
      {
        name: 'app.py',
        mimeType: 'text/plain',
        buffer: Buffer.from('import os\nfrom http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer\nThreadingHTTPServer(("", int(os.environ["PORT"])), SimpleHTTPRequestHandler).serve_forever()\n'),
      },
    ]);
    await expect(page.getByRole('heading', { name: 'Deploy 1' })).toBeVisible();
    await expect(page.getByText('tides v1 is live')).toBeVisible({ timeout: 180_000 });
    await expect(page.getByRole('list', { name: 'Steps' })).toContainText('Check health');
    await accessible(page);
  });
});

test('a failed deploy is opened with its reason, and an older release comes back', async ({ as }) => {
  const page = await as('alice', '/apps/weather');
  await expect(page.getByRole('region', { name: 'Last deploys' })).toContainText('Move the entry point');
  await accessible(page);
  await page.getByRole('link', { name: 'Move the entry point' }).click();
  await expect(page.getByRole('alert').filter({ hasText: 'goes on serving' })).toBeVisible();
  await expect(page.getByRole('list', { name: 'Steps' }).getByRole('alert')).toBeVisible();
  await accessible(page);
  await page.getByRole('link', { name: 'Deploys', exact: true }).click();
  await accessible(page);
  await page.getByRole('button', { name: 'Roll back to v1' }).first().click();
  await page.getByRole('dialog').getByRole('button', { name: 'Roll back' }).click();
  await expect(page.getByText(/weather v\d+ is live/)).toBeVisible({ timeout: 120_000 });
});

test('two releases are compared', async ({ as }) => {
  const page = await as('alice', '/apps/weather/compare?from=1&to=2');
  await expect(page.getByRole('region', { name: 'Commits' })).toContainText('It got warmer');
  await accessible(page);
});

test.describe('a core that crashes', () => {
  test.use({ allowed: /status of 50[234]|net::ERR_/ });
  test('the log follows, searches and survives a crash of the core', async ({ as }) => {
    const page = await as('alice', '/apps/weather/logs');
    const log = page.getByRole('log');
    await expect(log).toContainText(/observation \d+: still sunny/);
    await accessible(page);
    await page.getByRole('searchbox', { name: 'Search the log' }).fill('barometer');
    await expect(log).not.toContainText('observation');
    await expect(log).toContainText('no barometer here: guessing');
    await page.getByRole('searchbox', { name: 'Search the log' }).fill('');
    const last = async () => Number(/observation (\d+)(?!.*observation)/s.exec(await log.innerText())?.[1] ?? 0);
    await expect.poll(last).toBeGreaterThan(0);
    crashCore();
    const before = await last();
    await expect.poll(last, { timeout: 60_000 }).toBeGreaterThan(before + 2);
  });
});

test('access is changed, shared, explained and taken back', async ({ as }) => {
  const page = await as('alice', '/apps/churn/access');
  await accessible(page);
  await page.getByRole('combobox', { name: 'Can this person open it?' }).fill('bob');
  await page.getByRole('button', { name: 'Tell me' }).click();
  await expect(page.getByText('bob may not open it')).toBeVisible();
  await page.getByRole('combobox', { name: 'Person', exact: true }).fill('bo');
  await page.getByRole('option', { name: /bob/ }).click();
  await page.getByRole('button', { name: 'Share' }).click();
  await expect(page.getByRole('table', { name: 'People' })).toContainText('Bob Sørensen');
  await page.getByRole('button', { name: 'Tell me' }).click();
  await expect(page.getByText('bob may open it')).toBeVisible();
  await page.getByRole('button', { name: 'Remove bob' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Remove' }).click();
  await expect(page.getByRole('button', { name: 'Remove bob' })).toHaveCount(0);
  await page.getByLabel('Everyone signed in').check();
  await expect(page.getByText('Access is now: Everyone signed in')).toBeVisible();
  await page.getByLabel('Restricted').check();
  await expect(page.getByText('Access is now: Restricted')).toBeVisible();
});

test('variables are set, pasted, kept secret and removed', async ({ as }) => {
  const page = await as('alice', '/apps/weather/environment');
  const table = page.getByRole('table', { name: 'Environment variables' });
  await expect(table).toContainText('Kew');
  await expect(table.getByRole('row', { name: /API_KEY/ })).toContainText('secret, not shown');
  expect(await page.content()).not.toContain('not-to-be-seen');
  await accessible(page);
  await page.getByRole('button', { name: 'Paste many' }).click();
  await page.getByLabel('Lines like NAME=value').fill('# a comment\nexport ONE="first one"\nTWO=2\n');
  await expect(page.getByText('2 found: ONE, TWO')).toBeVisible();
  await page.getByLabel('All of them are secret').uncheck();
  await page.getByRole('dialog').getByRole('button', { name: 'Save' }).click();
  await expect(table).toContainText('first one');
  await page.getByRole('button', { name: 'Remove TWO' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Remove' }).click();
  await expect(table.getByRole('row', { name: /TWO/ })).toHaveCount(0);
});

test('a process is scaled, and the app is paused and resumed', async ({ as }) => {
  const page = await as('alice', '/apps/weather/processes');
  await expect(page.getByRole('region', { name: 'worker' }).first()).toBeVisible();
  await accessible(page);
  await page.getByLabel('Replicas of worker').first().fill('2');
  await page.getByRole('region', { name: 'worker' }).getByRole('button', { name: 'Scale' }).click();
  await expect(page.getByRole('table', { name: 'Replicas of worker' }).getByRole('row')).toHaveCount(3);
  await page.getByRole('link', { name: 'Settings' }).click();
  await accessible(page);
  await page.getByRole('button', { name: 'Pause' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Pause' }).click();
  await expect(page.getByText('Paused').first()).toBeVisible();
  await page.getByRole('button', { name: 'Resume' }).click();
  await expect(page.getByText('Running').first()).toBeVisible();
});

test('plots come with Plotly, which is not asked for before', async ({ as }) => {
  const page = await as('alice', '/apps/weather');
  const scripts: string[] = [];
  page.on('request', (r) => scripts.push(r.url()));
  await page.getByRole('link', { name: 'Deploys', exact: true }).click();
  await expect(page.getByRole('heading', { name: 'Deploys' })).toBeVisible();
  expect(scripts.filter((s) => s.includes('plotly'))).toEqual([]);
  await page.getByRole('link', { name: 'Metrics' }).click();
  await expect(page.getByRole('img', { name: 'Requests' }).locator('.main-svg').first()).toBeVisible();
  await page.getByText('1 day').click();
  await expect(page).toHaveURL(/span=24h/);
  await accessible(page);
});

test('deleting says what is lost and asks for the name', async ({ as }) => {
  const page = await as('alice', '/apps/fleet/settings');
  await page.getByRole('button', { name: 'Delete app' }).click();
  const dialog = page.getByRole('dialog');
  await expect(dialog).toContainText('its repository, releases and logs');
  await accessible(page);
  await expect(dialog.getByRole('button', { name: 'Delete app' })).toBeDisabled();
  await dialog.getByLabel('Type fleet to go on').fill('fleet');
  await dialog.getByRole('button', { name: 'Delete app' }).click();
  await expect(page).toHaveURL(url('/apps'));
  await expect(page.getByRole('table', { name: 'Apps' })).not.toContainText('Fleet');
});
