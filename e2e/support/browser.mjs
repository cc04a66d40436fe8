// The browser, and the steps that many tests share.

import assert from 'node:assert/strict';
import { chromium } from 'playwright-core';

let browser;

// launch starts the system's Chromium, without what it would otherwise fetch
// in the background.
function launch() {
  return chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
    ],
  });
}

// closeBrowser ends the browser that the tests of a file share.
export async function closeBrowser() {
  await (await browser)?.close();
}

// openPage opens a page for the test t, in a context of its own: no cookie of
// another test is there. Script errors, and whatever the page's Content
// Security Policy forbids, fail the test.
export async function openPage(t, site, options = {}) {
  browser ??= launch();
  const context = await (await browser).newContext({ baseURL: site.url, ...options });
  t.after(() => context.close());
  context.setDefaultTimeout(15_000);
  const page = await context.newPage();
  page.on('pageerror', (error) => assert.fail(`script error on ${page.url()}: ${error.message}`));
  page.on('console', (message) => {
    if (message.text().includes('Content Security Policy')) {
      assert.fail(`${page.url()}: ${message.text()}`);
    }
  });
  return page;
}

export const emailField = (page) => page.getByLabel(/^e-mail/i);
export const passwordField = (page) => page.getByLabel('Password');
export const codeField = (page) => page.getByLabel(/code/i);
export const button = (page, name) => page.getByRole('button', { name, exact: true });

// submit presses a button, waits for the page that follows, and returns the
// answer that brought it.
export async function submit(page, name) {
  const [answer] = await Promise.all([page.waitForNavigation(), button(page, name).click()]);
  return answer;
}

// signIn goes through the gateway's own two pages; page is on the first one.
export async function signIn(page, demo, email) {
  await emailField(page).fill(email);
  await button(page, 'Continue').click();
  await codeField(page).fill(await demo.nextCode(email));
  await button(page, 'Sign in').click();
}

// signInWithShopForm does the same with the form that the shop draws.
export async function signInWithShopForm(page, demo, email) {
  await emailField(page).fill(email);
  await button(page, 'Sign in').click();
  await page.getByText('on its way').waitFor();
  await emailField(page).fill(email);
  await codeField(page).fill(await demo.nextCode(email));
  await button(page, 'Sign in').click();
}

export async function expectHeading(page, text) {
  await page.getByRole('heading', { level: 1, name: text, exact: true }).waitFor();
}
