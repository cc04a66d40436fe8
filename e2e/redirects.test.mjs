// Where a browser really goes. The long list of payloads is held against the
// URL standard in caddytest; these are one or two of each family.

import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { closeBrowser, openPage } from './support/browser.mjs';
import { startDemo } from './support/demo.mjs';

after(closeBrowser);

const leading = [
  'https://evil.example/',
  'HTTPS:evil.example',
  'http:///evil.example',
  'http:\\\\evil.example',
  '//evil.example/%2f..',
  '///evil.example',
  '////evil.example',
  '/\\evil.example',
  '\\/evil.example',
  '/\\/evil.example',
  '/\t/evil.example',
  '/\n/evil.example',
  '/\r\n\\evil.example',
  '\t//evil.example',
  '\x01https://evil.example',
  ' //evil.example',
  '//user@evil.example',
  '//127.0.0.1@evil.example',
  '//evil.example\\@127.0.0.1',
  '//evil.example#@127.0.0.1',
  '//evil\u3002example',
  '//\uff45\uff56\uff49\uff4c.example',
  '//2130706433:1/',
  '//[::1]:1/',
  'javascript:alert(1)',
  'java\tscript:alert(1)',
  'data:text/html,evil',
];

const decoded = [
  '/%2fevil.example',
  '/%5cevil.example',
  '/%09/evil.example',
  '/%252fevil.example',
  '/.//evil.example',
  '/x/..//evil.example',
  '/;//evil.example',
  '/%ef%bc%8fevil.example',
  '/%0d%0aLocation:%20https://evil.example',
  '/\r\nLocation: https://evil.example',
];

test('no return path leads a browser off the site', async (t) => {
  const demo = await startDemo(t);
  const page = await openPage(t, demo);
  const { origin } = new URL(demo.url);
  const away = [];
  await page.route(
    (url) => url.origin !== origin,
    (route) => {
      away.push(route.request().url());
      return route.abort();
    },
  );
  await page.goto('/');
  for (const payload of leading) {
    const there = await page.evaluate((href) => Object.assign(document.createElement('a'), { href }).origin, payload);
    assert.notEqual(there, origin, `${JSON.stringify(payload)} is no attack in this browser`);
  }
  for (const payload of [...leading, ...decoded]) {
    const action = `/logout?returnUrl=${encodeURIComponent(payload)}`;
    await Promise.all([
      page.waitForNavigation(),
      page.evaluate((target) => {
        const form = Object.assign(document.createElement('form'), { method: 'post', action: target });
        document.body.append(form);
        form.submit();
      }, action),
    ]);
    assert.equal(new URL(page.url()).origin, origin, `${JSON.stringify(payload)} leads to ${page.url()}`);
    assert.deepEqual(away, [], `${JSON.stringify(payload)} leads away`);
  }
});
