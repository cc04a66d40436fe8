// The default cookie needs HTTPS, so this gateway is a Caddy with its own
// certificate, in front of the demo's shop and its simulated Kibo.

import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { closeBrowser, expectHeading, openPage, signIn } from './support/browser.mjs';
import { startCaddy, startDemo } from './support/demo.mjs';

after(closeBrowser);

async function freePort() {
  const server = createServer();
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return String(port);
}

test('over HTTPS the session cookie is Secure and bound to the host', async (t) => {
  const storage = await mkdtemp(join(tmpdir(), 'kibo-e2e-'));
  t.after(() => rm(storage, { recursive: true, force: true, maxRetries: 5 }));
  const demo = await startDemo(t);
  const port = await freePort();
  await startCaddy(t, 'Caddyfile', {
    E2E_PORT: port,
    E2E_KIBO: demo.kibo,
    E2E_SHOP: demo.shop,
    XDG_DATA_HOME: storage,
    KIBO_CLIENT_ID: 'demo.gateway.1.0.0.Release',
    KIBO_SHARED_SECRET: 'demo-shared-secret-known-to-everybody',
  });
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
