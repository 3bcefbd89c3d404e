import { generateKeyPairSync } from 'node:crypto';

import { accessible, expect, test } from './fixtures';

/** A new public key as its .pub file has it. */
function publicKey(comment: string): string {
  const raw = Buffer.from(generateKeyPairSync('ed25519').publicKey.export({ format: 'jwk' }).x ?? '', 'base64url');
  const part = (b: Buffer) => Buffer.concat([Buffer.from([0, 0, 0, b.length]), b]);
  return `ssh-ed25519 ${Buffer.concat([part(Buffer.from('ssh-ed25519')), part(raw)]).toString('base64')} ${comment}`;
}

test('an SSH key is added, and removed', async ({ as }) => {
  const page = await as('alice', '/profile');
  const section = page.getByRole('region', { name: 'SSH keys' });
  await expect(section.getByText('Key of this server')).toBeVisible();
  await expect(section.getByText(/^SHA256:/)).toBeVisible();
  await expect(section.getByText(/^\[git-.*\]:\d+ ssh-ed25519 /)).toBeVisible();
  await section.getByLabel('Public key').fill(publicKey('alice@laptop'));
  await section.getByRole('button', { name: 'Add the key' }).click();
  const table = page.getByRole('table', { name: 'SSH keys' });
  await expect(table).toContainText('alice@laptop');
  await expect(table).toContainText('ssh-ed25519');
  await expect(table).toContainText('SHA256:');
  await expect(section.getByLabel('Public key')).toHaveValue('');
  await accessible(page);
  await page.getByRole('button', { name: 'Remove alice@laptop' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Remove' }).click();
  await expect(page.getByRole('button', { name: 'Remove alice@laptop' })).toHaveCount(0);
});

test('a private key is not even sent', async ({ as }) => {
  const page = await as('carol', '/profile');
  const sent: string[] = [];
  page.on('request', (r) => r.method() === 'POST' && sent.push(r.url()));
  await page.getByLabel('Public key').fill('-----BEGIN OPENSSH PRIVATE KEY-----');
  await expect(page.getByText('This is a private key. It was not sent')).toBeVisible();
  await expect(page.getByLabel('Public key')).toHaveValue('');
  await accessible(page);
  await page.getByRole('button', { name: 'Add the key' }).click();
  expect(sent.filter((u) => u.includes('ssh-keys'))).toEqual([]);
});

test.describe('a key that cannot be used', () => {
  test.use({ allowed: /status of (409|422)/ });
  test('is refused at its field', async ({ as }) => {
    const page = await as('bob', '/profile');
    const add = async (key: string) => {
      await page.getByLabel('Public key').fill(key);
      await page.getByRole('button', { name: 'Add the key' }).click();
    };
    await add('ssh-dss AAAAB3NzaC1kc3M bob');
    await expect(page.getByText(/DSA key, which can be broken/)).toBeVisible();
    const key = publicKey('bob@desk');
    await add(key);
    await expect(page.getByRole('button', { name: 'Remove bob@desk' })).toBeVisible();
    await add(key);
    await expect(page.getByText('you have added this key already: it is called "bob@desk"')).toBeVisible();
  });
});

test('the commands for git have a form for SSH', async ({ as }) => {
  const page = await as('alice', '/apps/weather');
  await expect(page.getByText(/^ssh:\/\/git@git-.*\/weather$/)).toBeVisible();
});
