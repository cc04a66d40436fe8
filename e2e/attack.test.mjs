// What hostile pages can do to a customer in a real browser: nothing.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { after, test } from 'node:test';
import { closeBrowser, expectHeading, openPage, signIn } from './support/browser.mjs';
import { startDemo } from './support/demo.mjs';

after(closeBrowser);

const payloads = JSON.parse(readFileSync(new URL('../caddytest/testdata/xss.json', import.meta.url)));

// startSite serves pages of somebody else on a port of its own, under every
// loopback name: pages maps paths to HTML.
async function startSite(t, pages) {
  const server = createServer((request, response) => {
    const page = pages[new URL(request.url, 'http://x').pathname];
    response.writeHead(page === undefined ? 404 : 200, { 'content-type': 'text/html; charset=utf-8' });
    response.end(page);
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return server.address().port;
}

// calls tells how often Kibo was asked for a code or for a ticket.
async function calls(demo) {
  const all = await (await fetch(`${demo.kibo}/__sim/calls`)).json();
  return (all['otp/request'] ?? 0) + (all['otp/auth'] ?? 0);
}

async function signedIn(t, demo, email, name) {
  const page = await openPage(t, demo);
  await page.goto('/account');
  await signIn(page, demo, email);
  await page.getByRole('cell', { name }).waitFor();
  return page;
}

// The names under which the hostile site is reached. Cookies know no ports, so
// that another port of the shop's own host is sent the shop's cookies.
const strangers = {
  'another site': (port) => `http://127.0.0.1:${port}`,
  'the same host on another port': (port) => `http://localhost:${port}`,
  'another name': (port) => `http://evil.localhost:${port}`,
};

// attempts are scripts of the hostile page. Each gets the shop's origin.
const attempts = {
  async fetches(shop) {
    const posts = ['/logout', '/logout?scope=everywhere', '/login'].flatMap((path) =>
      ['no-cors', 'cors'].flatMap((mode) =>
        ['text/plain', 'application/x-www-form-urlencoded', 'application/json'].map((type) =>
          fetch(shop + path, {
            method: 'POST', mode, credentials: 'include', headers: mode === 'cors' || type !== 'application/json' ? { 'content-type': type } : {},
            body: type === 'application/json' ? '{"login[username]":"john@example.com"}' : 'login[username]=john@example.com&login[password]=123456',
          }).then((r) => r.type !== 'opaque' && r.text(), () => false),
        ),
      ),
    );
    const gets = ['/account', '/whoami', '/login'].map((path) =>
      fetch(shop + path, { credentials: 'include' }).then((r) => r.text(), () => false),
    );
    return (await Promise.all([...posts, ...gets])).filter(Boolean);
  },
  async beacons(shop) {
    navigator.sendBeacon(`${shop}/logout`, new URLSearchParams());
    navigator.sendBeacon(`${shop}/login`, new URLSearchParams({ 'login[username]': 'john@example.com' }));
    return [];
  },
  async images(shop) {
    for (const path of ['/logout', '/logout?scope=everywhere', '/login?login[username]=john@example.com']) {
      await new Promise((resolve) => {
        const image = new Image();
        image.onload = image.onerror = resolve;
        image.src = shop + path;
      });
    }
    return [];
  },
  async scripts(shop) {
    return Promise.all(['/account', '/login', '/whoami'].map((path) =>
      new Promise((resolve) => {
        const script = document.createElement('script');
        script.onload = script.onerror = () => resolve(undefined);
        script.src = shop + path;
        document.head.append(script);
      }),
    )).then(() => []);
  },
  async sockets(shop) {
    return (await Promise.all(['/account', '/account/orders'].map((path) =>
      new Promise((resolve) => {
        const socket = new WebSocket(shop.replace('http', 'ws') + path);
        socket.onopen = () => resolve(`a socket to ${path}`);
        socket.onerror = () => resolve(false);
      }),
    ))).filter(Boolean);
  },
  // In a frame, the frame posts; with a sandbox, from the origin "null".
  async forms(shop) {
    const posted = [];
    for (const sandbox of [undefined, 'allow-forms allow-scripts']) {
      for (const [path, field] of [['/logout', 'x'], ['/login', 'login[username]'], ['/logout?scope=everywhere', 'x']]) {
        for (const type of ['application/x-www-form-urlencoded', 'text/plain', 'multipart/form-data']) {
          posted.push(new Promise((resolve) => {
            const frame = document.createElement('iframe');
            if (sandbox) frame.setAttribute('sandbox', sandbox);
            let loads = 0;
            frame.onload = () => ++loads === 2 && resolve();
            frame.srcdoc = `<form method=post enctype="${type}" action="${shop}${path}"><input name="${field}" value="john@example.com"></form><script>setTimeout(() => document.forms[0].submit())</script>`;
            document.body.append(frame);
          }));
        }
      }
    }
    await Promise.race([Promise.all(posted), new Promise((resolve) => setTimeout(resolve, 5000))]);
    return [];
  },
};

for (const [what, address] of Object.entries(strangers)) {
  test(`a page of ${what} signs nobody in or out and has no code sent`, async (t) => {
    const demo = await startDemo(t);
    const port = await startSite(t, { '/': '<!doctype html><title>hostile</title><body></body>' });
    const customer = await signedIn(t, demo, 'jane@example.com', 'Jane Doe');
    const before = await calls(demo);
    const page = await customer.context().newPage();
    for (const [name, attempt] of Object.entries(attempts)) {
      await page.goto(address(port));
      assert.deepEqual(await page.evaluate(attempt, demo.url), [], `${name} can read something`);
    }
    // A form can also take the whole window along.
    for (const [path, field] of [['/logout', 'x'], ['/login', 'login[username]']]) {
      await page.goto(address(port));
      const [answer] = await Promise.all([
        page.waitForNavigation(),
        page.evaluate(([url, name]) => {
          document.body.innerHTML = `<form method=post action="${url}"><input name="${name}" value="john@example.com"></form>`;
          document.forms[0].submit();
        }, [demo.url + path, field]),
      ]);
      assert.equal(answer.status(), 403, `${path} posted by a form`);
    }
    assert.equal(await calls(demo), before, 'Kibo is not called');
    assert.equal(demo.mails(), 1, 'no further mail');
    await customer.goto('/account');
    await customer.getByRole('cell', { name: 'Jane Doe' }).waitFor();
  });
}

test('the pages of the gateway cannot be framed', async (t) => {
  const demo = await startDemo(t);
  const paths = ['/login', '/login?kibo_auth=rejected', '/account', '/logout', '/logout?scope=x'];
  const frames = ['/about-nothing', ...paths].map((path) => `<iframe src="${demo.url}${path}"></iframe>`).join('');
  const port = await startSite(t, { '/': `<!doctype html><body>${frames}</body>` });
  for (const address of Object.values(strangers)) {
    const page = await openPage(t, { url: address(port) });
    page.removeAllListeners('console'); // which tells of every refused frame
    await page.goto('/');
    const [control, ...own] = page.frames().slice(1);
    assert.equal(new URL(control.url()).pathname, '/about-nothing', 'a page of the shop can be framed, so the test can tell');
    assert.equal(own.length, paths.length);
    for (const [i, frame] of own.entries()) {
      assert.match(frame.url(), /^chrome-error:/, `${paths[i]} is shown in a frame`);
      assert.equal(await frame.locator('form, h1').filter({ hasText: /sign|e-mail/i }).count(), 0);
    }
  }
});

test('a session that another port plants beside the own one is not taken', async (t) => {
  const demo = await startDemo(t);
  const attacker = await signedIn(t, demo, 'john@example.com', 'John Roe');
  const planted = (await attacker.context().cookies()).find(({ name }) => name === 'kibo').value;
  const port = await startSite(t, { '/': '<!doctype html><title>hostile</title>' });
  const customer = await signedIn(t, demo, 'jane@example.com', 'Jane Doe');

  const page = await customer.context().newPage();
  for (const cookie of [`kibo=${planted}; path=/account`, `kibo=${planted}; path=/account/`, `kibo=${planted}`, `=kibo=${planted}; path=/account`]) {
    await page.goto(`http://localhost:${port}`);
    await page.evaluate((text) => { document.cookie = text; }, cookie);
  }
  const sent = await page.context().cookies(`${demo.url}/account`);
  assert.ok(sent.filter(({ name, value }) => name === 'kibo' && value === planted).length > 0, 'the cookie was planted');
  await customer.goto('/account');
  assert.equal(new URL(customer.url()).pathname, '/login', 'with two sessions there is none');
  assert.ok(!(await customer.content()).includes('John'));
  await customer.goto('/whoami');
  assert.doesNotMatch(await customer.content(), /1002/);
});

test('a session that is planted before the sign-in is not the one after it', async (t) => {
  const demo = await startDemo(t);
  const attacker = await signedIn(t, demo, 'john@example.com', 'John Roe');
  const cookies = await attacker.context().cookies();
  const victim = await openPage(t, demo);
  await victim.context().addCookies(cookies);
  await victim.goto('/login');
  await signIn(victim, demo, 'jane@example.com');
  await victim.goto('/account');
  await victim.getByRole('cell', { name: 'Jane Doe' }).waitFor();
  const [before, now] = [cookies, await victim.context().cookies()].map((all) => all.find(({ name }) => name === 'kibo').value);
  assert.notEqual(now, before);
  await attacker.goto('/account');
  assert.equal(new URL(attacker.url()).pathname, '/login', 'the planted session has ended');
});

// watched is a page on which no script of a payload may run.
async function watched(t, site) {
  const page = await openPage(t, site);
  const ran = [];
  page.on('dialog', (dialog) => {
    ran.push(dialog.message());
    dialog.dismiss().catch(() => {});
  });
  page.on('request', (request) => new URL(request.url()).hostname === 'evil.example' && ran.push(request.url()));
  page.on('console', (message) => message.text().includes('Content Security Policy') && ran.push(message.text()));
  return { page, ran };
}

// post sends a form as a page of the site itself would.
const post = (page, action, fields) =>
  Promise.all([
    page.waitForNavigation(),
    page.evaluate(([url, pairs]) => {
      const form = Object.assign(document.createElement('form'), { method: 'post', action: url });
      for (const [name, value] of pairs) {
        const field = Object.assign(document.createElement('textarea'), { name, value });
        form.append(field);
      }
      document.body.append(form);
      form.submit();
    }, [action, fields]),
  ]);

test(`none of ${payloads.length} scripts runs, wherever it is put`, async (t) => {
  const demo = await startDemo(t);
  const naive = await startSite(t, Object.fromEntries(payloads.slice(0, 20).map((text, i) => [`/${i}`, `<!doctype html><p>${text}</p>`])));
  const { page: bad, ran: control } = await watched(t, { url: `http://localhost:${naive}` });
  for (let i = 0; i < 20; i++) {
    await bad.goto(`/${i}`);
  }
  assert.ok(control.length >= 10, `on a naive page only ${control.length} of 20 run: the test cannot tell`);

  const { page, ran } = await watched(t, demo);
  await page.goto('/login');
  for (const text of payloads) {
    if (text.startsWith('/')) { // the rest is no return path, and shown only when posted
      const value = encodeURIComponent(text);
      await page.goto(`/login?returnUrl=${value}&kibo_auth=${value}&${value}=${value}`);
    }
    await post(page, '/login', [['login[username]', text], ['returnUrl', text]]);
    await page.mouse.move(300, 300);
    assert.deepEqual(ran, [], text);
  }
  await page.goto('/login');
  await expectHeading(page, 'Sign in');
});
