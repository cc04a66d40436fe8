// The default cookie needs HTTPS, so this gateway is a Caddy with its own
// certificate, in front of the demo's shop and its simulated Kibo.

import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { closeBrowser, expectHeading, openPage, signIn } from './support/browser.mjs';
import { startGateway } from './support/demo.mjs';

after(closeBrowser);

test('over HTTPS the session cookie is Secure and bound to the host', async (t) => {
  const { demo, port } = await startGateway(t, 'Caddyfile');
  const page = await openPage(t, { url: `https://localhost:${port}` }, { ignoreHTTPSErrors: true });
  await page.goto('/account');
  await signIn(page, demo, 'jane@example.com');
  await expectHeading(page, 'Your account');

  const cookie = (await page.context().cookies()).find(({ name }) => name === '__Host-kibo');
  assert.deepEqual(
    { secure: cookie.secure, httpOnly: cookie.httpOnly, sameSite: cookie.sameSite, path: cookie.path, domain: cookie.domain },
    { secure: true, httpOnly: true, sameSite: 'Lax', path: '/', domain: 'localhost' },
  );
});
