// Signing in with the form that the shop has always had.

import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { button, closeBrowser, codeField, emailField, expectHeading, openPage, signInWithShopForm } from './support/browser.mjs';
import { startDemo } from './support/demo.mjs';

after(closeBrowser);

for (const javaScriptEnabled of [true, false]) {
  test(`the shop's own form signs in with a code, scripts ${javaScriptEnabled ? 'on' : 'off'}`, async (t) => {
    const demo = await startDemo(t, '-upstream-form');
    const page = await openPage(t, demo, { javaScriptEnabled });
    await page.goto('/account');
    await page.getByText('Harbour Supply Co.').first().waitFor();
    assert.equal(await codeField(page).getAttribute('name'), 'login[password]', 'the field of the old form');
    await signInWithShopForm(page, demo, 'jane@example.com');

    await expectHeading(page, 'Your account');
    await page.getByRole('cell', { name: 'Jane Doe' }).waitFor();
    await button(page, 'Sign out').click();
    await page.goto('/account');
    await expectHeading(page, 'Sign in');
  });
}

test("a wrong code in the shop's form says so, keeps the e-mail, and the right one still works", async (t) => {
  const demo = await startDemo(t, '-upstream-form');
  const page = await openPage(t, demo);
  await page.goto('/account');
  await emailField(page).fill('john@example.com');
  await button(page, 'Sign in').click();
  await page.getByText('on its way').waitFor();
  const code = await demo.nextCode('john@example.com');

  await codeField(page).fill(code.replace(/.$/, (digit) => (Number(digit) + 1) % 10));
  await button(page, 'Sign in').click();
  await page.getByRole('alert').getByText('did not work').waitFor();
  assert.equal(await emailField(page).inputValue(), 'john@example.com');
  assert.ok(!page.url().includes('john'), 'the address stays out of the URL');

  await codeField(page).fill(code);
  await button(page, 'Sign in').click();
  await page.getByRole('cell', { name: 'John Roe' }).waitFor();
});

test("the shop's form says that Kibo is away", async (t) => {
  const demo = await startDemo(t, '-upstream-form');
  const page = await openPage(t, demo);
  await demo.spoil('oauth', { kind: 'html_500' });
  await page.goto('/login');
  await emailField(page).fill('jane@example.com');
  await button(page, 'Sign in').click();
  await page.getByRole('alert').getByText('can not sign you in right now').waitFor();
});

test("the shop's form takes the second code, too", async (t) => {
  const demo = await startDemo(t, '-upstream-form');
  const page = await openPage(t, demo);
  await page.goto('/account');
  await signInWithShopForm(page, demo, 'twofa@example.com');
  await page.getByText('One more step').waitFor();
  await codeField(page).fill(await demo.nextCode('twofa@example.com'));
  await button(page, 'Sign in').click();
  await page.getByRole('cell', { name: 'Tove Faber' }).waitFor();
});
