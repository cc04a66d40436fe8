// A captcha in the gateway's own form, drawn by a stand-in for a provider: a
// script of another origin that puts a frame and a field where the widget goes.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { button, closeBrowser, codeField, emailField, expectHeading, openPage, submit } from './support/browser.mjs';
import { startGateway } from './support/demo.mjs';

after(closeBrowser);

const secret = 'the-secret-key-of-the-stand-in';

// api is the widget: it fills the field in when its frame says that it is solved.
const api = `
for (const place of document.querySelectorAll('.cf-turnstile')) {
  const frame = document.createElement('iframe');
  frame.title = 'Captcha';
  frame.src = new URL('/frame?key=' + place.dataset.sitekey, document.currentScript.src);
  const field = document.createElement('input');
  field.type = 'hidden';
  field.name = 'cf-turnstile-response';
  place.append(frame, field);
  addEventListener('message', ({ origin, data }) => {
    if (origin === new URL(frame.src).origin) {
      field.value = data;
    }
  });
}`;

const frame = `<!doctype html><html lang="en"><title>Captcha</title><body><main><h1>Captcha</h1>
<button onclick="parent.postMessage('solved-' + Math.random(), '*'); this.textContent = 'Thank you'">I am a person</button></main>`;

// startProvider serves the widget, and verifies what it has given away, once.
async function startProvider(t) {
  const asked = [];
  const server = createServer(async (request, response) => {
    if (request.url === '/api.js') {
      response.setHeader('content-type', 'text/javascript').end(api);
    } else if (request.url.startsWith('/frame')) {
      response.setHeader('content-type', 'text/html').end(frame);
    } else {
      let body = '';
      for await (const chunk of request) {
        body += chunk;
      }
      const form = Object.fromEntries(new URLSearchParams(body));
      const success = form.secret === secret && form.response.startsWith('solved-') && !asked.some((a) => a.response === form.response);
      asked.push(form);
      response.end(JSON.stringify({ success, hostname: 'localhost', action: 'sign_in' }));
    }
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => new Promise((resolve) => { server.closeAllConnections(); server.close(resolve); }));
  return { url: `http://127.0.0.1:${server.address().port}`, asked };
}

// startShop runs the demo's shop behind a gateway that asks for captchas.
async function startShop(t, more = {}) {
  const provider = await startProvider(t);
  const { demo, port } = await startGateway(t, 'captcha/Caddyfile', { E2E_CAPTCHA: provider.url, E2E_CAPTCHA_SECRET: secret, ...more });
  return { demo, provider, site: { url: `http://localhost:${port}` } };
}

const solve = async (page) => {
  await page.frameLocator('iframe').getByRole('button', { name: 'I am a person' }).click();
  await page.frameLocator('iframe').getByRole('button', { name: 'Thank you' }).waitFor();
};

const axe = await readFile(createRequire(import.meta.url).resolve('axe-core'), 'utf8');

async function examine(page, state) {
  await page.evaluate(axe);
  for (const colorScheme of ['light', 'dark']) {
    await page.emulateMedia({ colorScheme });
    const { violations } = await page.evaluate(() => globalThis.axe.run());
    assert.deepEqual(violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join('\n')}`), [], `${state}, ${colorScheme}`);
  }
}

test('a captcha is solved once, for the code and for entering it', async (t) => {
  const { demo, provider, site } = await startShop(t);
  const page = await openPage(t, site);
  await page.goto('/account');
  await page.getByRole('group', { name: 'Show that you are a person' }).waitFor();
  await examine(page, 'the form with a captcha');

  await emailField(page).fill('jane@example.com');
  assert.equal((await submit(page, 'Continue')).status(), 403, 'not solved');
  assert.equal(demo.mails(), 0);
  await page.getByRole('alert').getByText('show below that you are a person').waitFor();
  assert.equal(await emailField(page).inputValue(), 'jane@example.com', 'the address is kept');
  assert.equal(await page.evaluate(() => document.activeElement.getAttribute('aria-labelledby')), 'person', 'the captcha has the focus');
  await examine(page, 'a captcha is asked for');

  await solve(page);
  await button(page, 'Continue').click();
  const code = await demo.nextCode('jane@example.com');
  assert.equal(await page.locator('iframe').count(), 0, 'and not for the code');
  await codeField(page).fill(code);
  await button(page, 'Sign in').click();
  await expectHeading(page, 'Your account');
  assert.deepEqual(provider.asked.map((a) => a.remoteip), ['127.0.0.1']);
});

test('after wrong codes the captcha is there with what was typed', async (t) => {
  const { demo, provider, site } = await startShop(t, { E2E_AFTER: '2/15m' });
  const page = await openPage(t, site);
  await page.goto('/account');
  assert.equal(await page.locator('script').count(), 0, 'no captcha at first');
  await emailField(page).fill('john@example.com');
  await button(page, 'Continue').click();
  const code = await demo.nextCode('john@example.com');
  await codeField(page).fill(code.replace(/.$/, (digit) => (Number(digit) + 1) % 10));
  assert.equal((await submit(page, 'Sign in')).status(), 401);
  await codeField(page).fill(code);
  assert.equal((await submit(page, 'Sign in')).status(), 403);
  assert.equal(await codeField(page).inputValue(), code, 'the code need not be typed again');
  await examine(page, 'a captcha beside the code');
  await solve(page);
  await button(page, 'Sign in').click();
  await expectHeading(page, 'Your account');
  assert.equal(provider.asked.length, 1);
});

test('without scripts the page says that they are needed', async (t) => {
  const { site } = await startShop(t);
  const page = await openPage(t, site, { javaScriptEnabled: false });
  await page.goto('/account');
  // Playwright's locators by text leave noscript out.
  assert.match(await page.locator('main').innerText(), /This needs JavaScript/);
});
