import AxeBuilder from '@axe-core/playwright';
import { test as base, expect, type BrowserContext, type Page } from '@playwright/test';

import type { Stage } from './setup';

export { expect };
export const stage = JSON.parse(process.env.STAGE ?? '{}') as Stage;
export const url = (path: string) => stage.api + path;

/** Kills the core as a crash would; the supervisor starts it again. */
export const crashCore = () => process.kill(Number(process.env.STAGE_PID), 'SIGUSR1');

export type Persona = 'admin' | 'alice' | 'bob' | 'carol';

export async function signIn(page: Page, who: Persona, path = '/portal') {
  await page.goto(url(path));
  await page.getByLabel('User name').fill(who);
  await page.getByLabel('Password').fill(stage.people[who] ?? '');
  await page.getByRole('button', { name: 'Sign in' }).click();
  await expect(page.getByRole('button', { name: `Account of ${who}` })).toBeVisible();
}

const rules = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'];

/** No violation of accessibility rules on the page as it is now; in the dark only colours differ. */
export async function accessible(page: Page) {
  for (const [colorScheme, runOnly] of [['light', rules], ['dark', ['color-contrast']]] as const) {
    await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
    await expect(page.locator('html')).toHaveAttribute('data-mantine-color-scheme', colorScheme);
    // Legacy: in this page alone, not in another that is opened for each look. There are no frames.
    const { violations } = await new AxeBuilder({ page }).setLegacyMode().options({ runOnly: [...runOnly], resultTypes: ['violations'] }).analyze();
    const found = violations.map((v) => `${v.id}: ${v.help}\n  ${v.nodes.map((n) => `${n.target.join(' ')} ${n.any[0]?.message ?? ''}`).join('\n  ')}`);
    expect(found, `in ${colorScheme} at ${page.url()}`).toEqual([]);
  }
}

/** How each test leaves its pages: whole, and good for everybody. */
async function ended(page: Page) {
  if (page.isClosed() || !page.url().startsWith(`${stage.api}/`)) return;
  await expect(page.getByRole('heading', { level: 1 })).toBeVisible();
  await accessible(page);
}

type State = Awaited<ReturnType<BrowserContext['storageState']>>;
const sessions = new Map<Persona, State>();

/** What pages must not do: log an error, come without a strict policy, break it, or ask another site. */
function watch(context: BrowserContext, bad: string[]) {
  const own = new URL(stage.api).host.replace(/^api-/, '');
  context.on('console', (m) => {
    const ours = [stage.api, stage.auth].some((h) => m.location().url.startsWith(h)); // an app's own errors are its own
    if (m.text().includes('net::ERR_NETWORK_CHANGED')) return; // each sandbox that begins or ends changes this machine's network
    if (ours && (m.type() === 'error' || m.type() === 'warning')) bad.push(`${m.type()}: ${m.text()} (${m.location().url})`);
  });
  context.on('weberror', (e) => bad.push(`error: ${e.error().message}`));
  context.on('response', (r) => {
    if (r.request().resourceType() !== 'document' || ![stage.api, stage.auth].some((h) => r.url().startsWith(`${h}/`)) || r.status() >= 300) return;
    const policy = r.headers()['content-security-policy'] ?? '';
    if (!policy.includes("default-src 'none'") || /unsafe|\*|script-src (?!'self';)/.test(policy)) bad.push(`policy of ${r.url()}: ${policy}`);
  });
  context.on('request', (r) => {
    const at = new URL(r.url());
    if (at.protocol.startsWith('http') && !at.host.endsWith(own)) bad.push(`third party: ${r.url()}`);
  });
}

interface Fixtures {
  /** Messages that the test provokes. */
  allowed: RegExp;
  bad: string[];
  /** Opens a page as somebody who has signed in. */
  as: (who: Persona, path?: string) => Promise<Page>;
}

export const test = base.extend<Fixtures>({
  allowed: [/(?!)/, { option: true }],
  bad: [
    async ({ context, allowed }, use) => {
      const bad: string[] = [];
      watch(context, bad);
      await use(bad);
      expect(bad.filter((b) => !allowed.test(b))).toEqual([]);
    },
    { auto: true },
  ],
  as: async ({ browser, bad }, use, testInfo) => {
    const opened: BrowserContext[] = [];
    await use(async (who, path = '/portal') => {
      const storageState = sessions.get(who);
      const context = await browser.newContext({ ignoreHTTPSErrors: true, reducedMotion: 'reduce', permissions: ['clipboard-read', 'clipboard-write'], ...(storageState && { storageState }) });
      opened.push(context);
      watch(context, bad);
      const page = await context.newPage();
      if (storageState === undefined) {
        await signIn(page, who, path);
        sessions.set(who, await context.storageState());
      } else {
        await page.goto(url(path));
      }
      return page;
    });
    if (testInfo.errors.length === 0) {
      for (const page of opened.flatMap((c) => c.pages())) await ended(page);
    }
    for (const context of opened) await context.close();
  },
});
