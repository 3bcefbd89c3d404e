import type { Locator, Page } from '@playwright/test';

import { accessible, expect, stage, test, url } from './fixtures';

/** Goes from control to control until it is there. */
async function tabTo(page: Page, target: Locator) {
  await expect(target).toBeVisible();
  const here = () => target.evaluate((e) => e === document.activeElement);
  for (let n = 0; n < 80 && !(await here()); n++) await page.keyboard.press('Tab');
  await expect(target).toBeFocused();
}

test('from sign-in over the list of apps into a dialog and back without a mouse', async ({ page }) => {
  await page.goto(url('/apps'));
  await tabTo(page, page.getByLabel('User name'));
  await page.keyboard.type('alice');
  await page.keyboard.press('Tab');
  await page.keyboard.type(stage.people.alice ?? '');
  await page.keyboard.press('Enter');
  await expect(page).toHaveURL(url('/apps'));
  await expect(page.getByRole('heading', { name: 'Apps' })).toBeVisible();
  await page.keyboard.press('Tab');
  await expect(page.getByRole('link', { name: 'Skip to content' })).toBeFocused();
  await page.keyboard.press('Enter');
  await expect(page.getByRole('main')).toBeFocused();

  await tabTo(page, page.getByRole('combobox', { name: 'State' }));
  await page.keyboard.press('ArrowDown');
  await expect(page.getByRole('option', { name: 'Running' })).toBeVisible();
  await page.keyboard.press('Escape');
  await tabTo(page, page.getByRole('link', { name: 'Churn explorer' }));
  await page.keyboard.press('Enter');
  await expect(page).toHaveURL(url('/apps/churn'));
  await expect(page.getByRole('main')).toBeFocused();
  await tabTo(page, page.getByRole('link', { name: 'Settings' }));
  await page.keyboard.press('Enter');

  const open = page.getByRole('button', { name: 'Delete app' });
  await tabTo(page, open);
  await page.keyboard.press('Enter');
  const dialog = page.getByRole('dialog');
  await expect(dialog.getByLabel('Type churn to go on')).toBeFocused();
  await page.keyboard.type('chur');
  await page.keyboard.press('Enter');
  await accessible(page);
  for (let n = 0; n < 6; n++) {
    await page.keyboard.press('Tab');
    expect(await dialog.evaluate((d) => d.contains(document.activeElement))).toBe(true);
  }
  await page.keyboard.press('Escape');
  await expect(dialog).toHaveCount(0);
  await expect(open).toBeFocused();
});

test('the menu of the account opens, chooses and closes by keys', async ({ as }) => {
  const page = await as('bob');
  const account = page.getByRole('button', { name: 'Account of bob' });
  await tabTo(page, account);
  await page.keyboard.press('Enter');
  await expect(page.getByRole('menuitem', { name: 'Your profile' })).toBeVisible();
  await page.keyboard.press('Escape');
  await expect(account).toBeFocused();
  await page.keyboard.press('Enter');
  await page.getByRole('menuitem', { name: 'Your profile' }).press('Enter');
  await expect(page).toHaveURL(url('/profile'));
  await expect(page.getByRole('main')).toBeFocused();
});
