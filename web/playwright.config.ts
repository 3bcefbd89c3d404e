import { defineConfig } from '@playwright/test';

// One real Slipway, begun in setup.ts, is shared by all tests.
export default defineConfig({
  testDir: 'e2e',
  outputDir: process.env.PICTURES ? 'e2e/out-pictures' : 'e2e/out',
  globalSetup: './e2e/setup.ts',
  testIgnore: process.env.PICTURES ? [] : ['pictures.test.ts'],
  testMatch: '*.test.ts',
  workers: 1,
  timeout: 300_000,
  expect: { timeout: 60_000 },
  forbidOnly: true,
  reporter: 'list',
  use: {
    ignoreHTTPSErrors: true,
    actionTimeout: 60_000,
    navigationTimeout: 120_000,
    trace: { mode: 'retain-on-failure', screenshots: false },
    screenshot: 'only-on-failure',
    launchOptions: {
      executablePath: new URL('e2e/chromium', import.meta.url).pathname,
      args: ['--no-sandbox', '--disable-quic', '--disable-gpu'],
    },
  },
});
