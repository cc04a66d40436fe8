// Signing in with the pages that the gateway draws.

import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { button, closeBrowser, codeField, emailField, expectHeading, openPage, passwordField, signIn, submit } from './support/browser.mjs';
import { startDemo } from './support/demo.mjs';

after(closeBrowser);

for (const javaScriptEnabled of [true, false]) {
  test(`a customer signs in with a code and out again, scripts ${javaScriptEnabled ? 'on' : 'off'}`, async (t) => {
    const demo = await startDemo(t);
    const page = await openPage(t, demo, { javaScriptEnabled });

    await page.goto('/account');
    assert.equal(new URL(page.url()).pathname, '/login', 'a stranger is asked to sign in');
    await signIn(page, demo, 'jane@example.com');

    await expectHeading(page, 'Your account');
    assert.equal(new URL(page.url()).pathname, '/account', 'back to where the customer wanted to go');
    await page.getByRole('cell', { name: 'Jane Doe' }).waitFor();
    await page.getByRole('cell', { name: '1001' }).waitFor();

    await button(page, 'Sign out').click();
    await page.goto('/account');
    assert.equal(new URL(page.url()).pathname, '/login', 'signed out, the customer is asked again');
  });
}

test('a wrong code says so, keeps the e-mail, and the right one still works', async (t) => {
  const demo = await startDemo(t);
  const page = await openPage(t, demo);
  await page.goto('/account');
  await emailField(page).fill('john@example.com');
  await button(page, 'Continue').click();
  const code = await demo.nextCode('john@example.com');

  await codeField(page).fill(code.replace(/.$/, (digit) => (Number(digit) + 1) % 10));
  assert.equal((await submit(page, 'Sign in')).status(), 401);
  await page.getByRole('alert').waitFor();
  assert.equal(await codeField(page).getAttribute('aria-invalid'), 'true');
  assert.match(await page.getByRole('main').innerText(), /john@example\.com/);
  assert.ok(!page.url().includes('john'), 'the address stays out of the URL');

  await codeField(page).fill(code);
  await button(page, 'Sign in').click();
  await page.getByRole('cell', { name: 'John Roe' }).waitFor();
});

test('a code may be pasted with blanks', async (t) => {
  const demo = await startDemo(t);
  const page = await openPage(t, demo);
  await page.goto('/account');
  await emailField(page).fill('jane@example.com');
  await button(page, 'Continue').click();
  const code = await demo.nextCode('jane@example.com');
  await codeField(page).fill(` ${code.slice(0, 3)} ${code.slice(3)} `);
  await button(page, 'Sign in').click();
  await expectHeading(page, 'Your account');
});

test('a new code replaces the old one', async (t) => {
  const demo = await startDemo(t);
  const page = await openPage(t, demo);
  await page.goto('/account');
  await emailField(page).fill('jane@example.com');
  await button(page, 'Continue').click();
  await demo.nextCode('jane@example.com');
  await button(page, 'Send a new code').click();
  await codeField(page).fill(await demo.nextCode('jane@example.com'));
  await button(page, 'Sign in').click();
  await expectHeading(page, 'Your account');
});

test('an unknown address gets the same page, and no mail', async (t) => {
  const demo = await startDemo(t);
  const page = await openPage(t, demo);
  const texts = [];
  for (const email of ['nobody@example.com', 'jane@example.com']) {
    await page.goto('/login');
    await emailField(page).fill(email);
    await button(page, 'Continue').click();
    await codeField(page).waitFor();
    texts.push((await page.getByRole('main').innerText()).replaceAll(email, 'ADDRESS'));
  }
  assert.equal(texts[0], texts[1]);
  await demo.nextCode('jane@example.com');
  assert.equal(demo.mails(), 1);
});

test('the keyboard is enough', async (t) => {
  const demo = await startDemo(t);
  const page = await openPage(t, demo);
  await page.goto('/account');
  const keyboard = page.keyboard;
  await tabTo(page, emailField(page));
  await keyboard.type('jane@example.com');
  await keyboard.press('Enter');
  await codeField(page).waitFor();
  await tabTo(page, codeField(page));
  await keyboard.type(await demo.nextCode('jane@example.com'));
  await tabTo(page, button(page, 'Sign in'));
  await keyboard.press('Space');
  await expectHeading(page, 'Your account');
  await tabTo(page, button(page, 'Sign out'));
  await keyboard.press('Enter');
  await page.getByRole('link', { name: 'Sign in' }).waitFor();
});

// tabTo moves the focus as a customer without a mouse does.
async function tabTo(page, target) {
  for (let presses = 0; presses < 20; presses++) {
    if (await target.evaluate((element) => element === document.activeElement)) {
      return;
    }
    await page.keyboard.press('Tab');
  }
  assert.fail(`Tab does not reach ${target}`);
}

test('a second factor is asked for, and nothing opens before it', async (t) => {
  const demo = await startDemo(t);
  const page = await openPage(t, demo);
  await page.goto('/account');
  await signIn(page, demo, 'twofa@example.com');
  await page.getByLabel('Second code').waitFor();
  assert.equal((await page.request.get('/account', { maxRedirects: 0 })).status(), 401, 'half signed in is not signed in');
  await page.getByLabel('Second code').fill(await demo.nextCode('twofa@example.com'));
  await button(page, 'Sign in').click();
  await page.getByRole('cell', { name: 'Tove Faber' }).waitFor();
});

test('a password opens an account, a wrong one does not, and a code does as well', async (t) => {
  const demo = await startDemo(t, '-password');
  const page = await openPage(t, demo);
  await page.goto('/account');
  await emailField(page).fill('jane@example.com');
  await passwordField(page).fill('not the password');
  assert.equal((await submit(page, 'Sign in')).status(), 401);
  assert.equal(await passwordField(page).inputValue(), '', 'a password is not sent back');
  assert.equal(await emailField(page).inputValue(), 'jane@example.com');
  await passwordField(page).fill('correct horse battery');
  await button(page, 'Sign in').click();
  await page.getByRole('cell', { name: 'Jane Doe' }).waitFor();

  const other = await openPage(t, demo);
  await other.goto('/account');
  await emailField(other).fill('jane@example.com');
  await passwordField(other).fill('not the password');
  await button(other, 'E-mail me a code').click();
  await codeField(other).fill(await demo.nextCode('jane@example.com'));
  await button(other, 'Sign in').click();
  await expectHeading(other, 'Your account');
});

test('a second code after a password is sent again on demand', async (t) => {
  const demo = await startDemo(t, '-password');
  const page = await openPage(t, demo);
  await page.goto('/account');
  await emailField(page).fill('twofa@example.com');
  await passwordField(page).fill('correct horse battery');
  await button(page, 'Sign in').click();
  await codeField(page).waitFor();
  await demo.nextCode('twofa@example.com');
  await button(page, 'Send a new code').click();
  await codeField(page).fill(await demo.nextCode('twofa@example.com'));
  await button(page, 'Sign in').click();
  await page.getByRole('cell', { name: 'Tove Faber' }).waitFor();
});

test('signing out on all devices ends the session of another browser', async (t) => {
  const demo = await startDemo(t);
  const [phone, laptop] = [await openPage(t, demo), await openPage(t, demo)];
  for (const page of [phone, laptop]) {
    await page.goto('/account');
    await signIn(page, demo, 'jane@example.com');
    await expectHeading(page, 'Your account');
  }
  await button(laptop, 'Sign out on all devices').click();
  await laptop.getByText('Ahoy, stranger').waitFor();
  await phone.goto('/account');
  assert.equal(new URL(phone.url()).pathname, '/login');
});

test('a cart filled by a stranger survives the sign-in and is ordered', async (t) => {
  const demo = await startDemo(t);
  const page = await openPage(t, demo);
  await page.goto('/product/storm-lantern');
  await button(page, 'Add to cart: Storm lantern').click();
  await page.getByText('You are not signed in').waitFor();
  await page.getByRole('link', { name: 'Go to checkout' }).click();
  await signIn(page, demo, 'jane@example.com');
  await expectHeading(page, 'Checkout');
  await button(page, 'Place the order').click();
  await page.getByRole('cell', { name: 'Being packed' }).waitFor();
});

test('a name beyond ASCII arrives whole', async (t) => {
  const demo = await startDemo(t);
  const page = await openPage(t, demo);
  await page.goto('/account');
  await signIn(page, demo, 'zoe@example.com');
  await page.getByRole('cell', { name: 'Zoë Ångström-日本' }).waitFor();
});

test('the session cookie is out of reach for scripts and for the shop', async (t) => {
  const demo = await startDemo(t);
  const page = await openPage(t, demo);
  await page.goto('/account');
  await signIn(page, demo, 'jane@example.com');
  await expectHeading(page, 'Your account');

  const cookie = (await page.context().cookies()).find(({ name }) => name === 'kibo');
  assert.deepEqual(
    { httpOnly: cookie.httpOnly, sameSite: cookie.sameSite, path: cookie.path, domain: cookie.domain },
    { httpOnly: true, sameSite: 'Lax', path: '/', domain: 'localhost' },
  );
  assert.doesNotMatch(await page.evaluate(() => document.cookie), /kibo/);
  const seen = await (await page.request.get('/whoami')).text();
  assert.match(seen, /^Kibo-Account-Id: 1001$/m);
  assert.ok(!seen.includes(cookie.value), seen);
});

test('identity headers that a browser sends never arrive', async (t) => {
  const demo = await startDemo(t);
  const page = await openPage(t, demo);
  const answer = await page.request.get('/whoami', {
    headers: { 'Kibo-Account-Id': '1001', Kibo_Account_Id: '1001', 'kibo-email': 'jane@example.com' },
  });
  assert.equal(await answer.text(), '');
});
