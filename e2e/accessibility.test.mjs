// Every state of the sign-in against axe, in light and dark, and on a phone.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { after, test } from 'node:test';
import { button, closeBrowser, codeField, emailField, openPage, passwordField, signIn, submit } from './support/browser.mjs';
import { startDemo } from './support/demo.mjs';

after(closeBrowser);

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core'), 'utf8');

// looks are the ways in which every page is looked at.
const looks = [
  { colorScheme: 'light', viewport: { width: 1280, height: 800 } },
  { colorScheme: 'dark', viewport: { width: 1280, height: 800 } },
  { colorScheme: 'light', viewport: { width: 320, height: 640 } },
  { colorScheme: 'dark', viewport: { width: 320, height: 640 } },
];

// examine checks the page as it stands, in every look.
async function examine(page, state) {
  await page.evaluate(axe);
  for (const { viewport, ...media } of looks) {
    await page.setViewportSize(viewport);
    await page.emulateMedia(media);
    const look = `${state}, ${media.colorScheme}, ${viewport.width} px`;
    const { violations } = await page.evaluate(() => globalThis.axe.run());
    assert.deepEqual(
      violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html, failureSummary }) => `${html}\n${failureSummary}`).join('\n')}`),
      [],
      look,
    );
    const excess = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
    assert.equal(excess, 0, `${look}: scrolls sideways`);
  }
}

test("the gateway's pages", async (t) => {
  const demo = await startDemo(t);
  const page = await openPage(t, demo);
  await page.goto('/account');
  await examine(page, 'e-mail');
  await emailField(page).fill('jane@example.com');
  await button(page, 'Continue').click();
  await codeField(page).waitFor();
  await examine(page, 'code');
  await codeField(page).fill('000000');
  assert.equal((await submit(page, 'Sign in')).status(), 401);
  await examine(page, 'wrong code');
  await demo.spoil('otp/auth', { kind: 'rate_limited', retry_after: 30 });
  await codeField(page).fill('000000');
  assert.equal((await submit(page, 'Sign in')).status(), 429);
  await examine(page, 'too many tries');
  assert.equal((await page.goto('/logout')).status(), 405);
  await examine(page, 'an error page');
});

test("the gateway's pages with passwords", async (t) => {
  const demo = await startDemo(t, '-password');
  const page = await openPage(t, demo);
  await page.goto('/account');
  await examine(page, 'e-mail and password');
  await emailField(page).fill('twofa@example.com');
  await passwordField(page).fill('wrong');
  assert.equal((await submit(page, 'Sign in')).status(), 401);
  await examine(page, 'wrong password');
  await passwordField(page).fill('correct horse battery');
  assert.equal((await submit(page, 'Sign in')).status(), 200);
  await examine(page, 'second step');
});

test("the gateway's pages when Kibo is away", async (t) => {
  const demo = await startDemo(t);
  const page = await openPage(t, demo);
  await demo.spoil('oauth', { kind: 'html_500' });
  await page.goto('/login');
  await emailField(page).fill('jane@example.com');
  assert.equal((await submit(page, 'Continue')).status(), 503);
  await examine(page, 'Kibo is away');
});

test("the gateway's page for the second code", async (t) => {
  const demo = await startDemo(t);
  const page = await openPage(t, demo);
  await page.goto('/login');
  await signIn(page, demo, 'twofa@example.com');
  await page.getByLabel('Second code').waitFor();
  await examine(page, 'second code');
});

test("the shop's own form and pages", async (t) => {
  const demo = await startDemo(t, '-upstream-form');
  const page = await openPage(t, demo);
  for (const path of [
    '/',
    '/product/oilskin-coat',
    '/cart',
    '/login',
    '/login?kibo_auth=code_sent',
    '/login?kibo_auth=second_step',
    '/login?kibo_auth=rejected',
    '/login?kibo_auth=limited',
    '/login?kibo_auth=unavailable',
  ]) {
    await page.goto(path);
    await examine(page, path);
  }
});
