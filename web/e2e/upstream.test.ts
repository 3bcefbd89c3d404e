import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { accessible, expect, stage, test, url } from './fixtures';

const token = 'glpat-this-is-the-token';

/** Changes words of the page on the other git server. */
function commit(repo: string, message: string, from: string, to: string) {
  const dir = mkdtempSync(join(tmpdir(), 'storm-'));
  const git = (...args: string[]) => execFileSync('git', ['-c', 'user.name=a', '-c', 'user.email=a@example.com', ...args], { cwd: dir, stdio: 'pipe' });
  git('clone', '-q', join(stage.remote_root, `${repo}.git`), '.');
  const page = join(dir, 'app.py');
  writeFileSync(page, readFileSync(page, 'utf8').replace(from, to));
  git('commit', '-q', '-a', '-m', message);
  git('push', '-q', 'origin', 'HEAD:main');
  rmSync(dir, { recursive: true });
}

test.describe('code from another git server', () => {
  test.use({ allowed: /status of (409|422)/ });

  test('a new app begins with it, and newer versions come with one click', async ({ as }) => {
    const page = await as('alice', '/apps/new');
    await page.getByLabel('Name').fill('storms');
    await page.getByRole('button', { name: 'Create app' }).click();
    await page.getByText('From a git repository', { exact: true }).click();
    const address = page.getByLabel('Address');
    const fetch = page.getByRole('button', { name: 'Fetch and deploy' });
    await accessible(page);

    // What cannot be is told at the field.
    await address.fill('git@github.com:me/app.git');
    await fetch.click();
    await expect(page.getByText('Ssh is not used here')).toBeVisible();
    await address.fill('https://10.0.0.1/me/app');
    await fetch.click();
    await expect(page.getByText('has no address on the internet')).toBeVisible();
    await address.fill(`${stage.remote}/private-storms.git`);
    await fetch.click();
    await expect(page.getByText('give an access token')).toBeVisible();
    await page.getByLabel('Access token', { exact: true }).fill('wrong');
    await fetch.click();
    await expect(page.getByText('does not accept the user name and token')).toBeVisible();
    await accessible(page);

    await page.getByLabel('User name').fill('robot');
    await page.getByLabel('Access token', { exact: true }).fill(token);
    await fetch.click();
    await expect(page.getByRole('heading', { name: 'Deploy 1' })).toBeVisible();
    await expect(page.getByText('Thunder').first()).toBeVisible();
    await expect(page.getByText('storms v1 is live')).toBeVisible({ timeout: 100_000 });

    commit('private-storms', 'Lightning', '24 degrees', '19 degrees');
    await page.goto(url('/apps/storms/deploys'));
    const newest = page.getByRole('button', { name: /^Deploy from 127\.0\.0\.1:\d+\/private-storms$/ });
    await expect(newest).toBeVisible();
    await accessible(page);
    await newest.click();
    await expect(page.getByRole('heading', { name: 'Deploy 2' })).toBeVisible();
    await expect(page.getByText('Lightning').first()).toBeVisible();
    await expect(page.getByText('storms v2 is live')).toBeVisible({ timeout: 100_000 });
    await page.goto(`${stage.apps}/storms/`);
    await expect(page.getByText('Sunny, 19 degrees')).toBeVisible();

    // In the settings there is all but the token.
    await page.goto(url('/apps/storms/settings'));
    const panel = page.getByRole('region', { name: 'Git repository' });
    await expect(panel.getByLabel('Address')).toHaveValue(`${stage.remote}/private-storms.git`);
    await expect(panel.getByLabel('User name')).toHaveValue('robot');
    await expect(panel.getByLabel('Access token', { exact: true })).toHaveValue('');
    await expect(panel.getByText('There is one. Empty: it stays.')).toBeVisible();
    expect(await page.content()).not.toContain(token);
    await accessible(page);

    // Another history is refused, until it is to take the place of what is there.
    await panel.getByLabel('Address').fill(`${stage.remote}/storms.git`);
    await expect(panel.getByText('Only for a private repository.')).toBeVisible();
    await panel.getByRole('button', { name: 'Save' }).click();
    await expect(page.getByText('Saved')).toBeVisible();
    await page.goto(url('/apps/storms/deploys'));
    await page.getByRole('button', { name: /^Deploy from .*\/storms$/ }).click();
    await expect(page.getByText('the other repository does not lead to')).toBeVisible();
    await accessible(page);
    await page.getByRole('button', { name: 'Replace' }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Replace' }).click();
    await expect(page.getByRole('heading', { name: 'Deploy 3' })).toBeVisible();
    await expect(page.getByText('storms v3 is live')).toBeVisible({ timeout: 100_000 });

    await page.goto(url('/apps/storms/settings'));
    await panel.getByRole('button', { name: 'Remove' }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Remove' }).click();
    await expect(page.getByText('The repository is forgotten')).toBeVisible();
    await expect(panel.getByLabel('Address')).toHaveValue('');
    await page.goto(url('/apps/storms/deploys'));
    await expect(page.getByRole('heading', { name: 'Deploy by upload' })).toBeVisible();
    await expect(page.getByRole('button', { name: /^Deploy from/ })).toHaveCount(0);
  });
});
