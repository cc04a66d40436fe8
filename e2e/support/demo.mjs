// Starts the demo, and reads the customer's mail off its terminal.

import { spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const bin = fileURLToPath(new URL('../bin/', import.meta.url));

// run starts a program and waits until its output matches every pattern.
// It resolves to the matches' first groups, and to the growing output.
async function run(t, program, args, env, patterns) {
  const child = spawn(bin + program, args, { env: { ...process.env, ...env } });
  const exited = new Promise((resolve) => child.once('exit', resolve));
  t.after(async () => {
    child.kill('SIGINT');
    await exited;
  });
  const output = { text: '', changed: () => {} };
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (chunk) => {
      output.text += chunk;
      output.changed();
    });
  }
  const groups = await Promise.race([
    until(output, () => {
      const found = patterns.map((pattern) => output.text.match(pattern));
      return found.every(Boolean) && found.map((match) => match[1]);
    }),
    exited.then((code) => {
      throw new Error(`${program} ended with ${code}:\n${output.text}`);
    }),
  ]);
  return { groups, output };
}

// until waits for a result, which is asked for again whenever output grows.
function until(output, result) {
  return new Promise((resolve) => {
    output.changed = () => {
      const value = result();
      if (value) {
        output.changed = () => {};
        resolve(value);
      }
    };
    output.changed();
  });
}

// startDemo runs a demo of its own for the test t, so that no test meets
// another one's sessions or limits.
export async function startDemo(t, ...flags) {
  const { groups, output } = await run(t, 'demo', ['-listen', '127.0.0.1:0', ...flags], {}, [
    /Shop +(http:\S+)/,
    /old shop, http:\/\/(\S+)/,
    /simulated Kibo, (http:\S+)\/__sim\//,
    /Ctrl-C/,
  ]);
  let read = output.text.length;
  return {
    url: groups[0],
    shop: groups[1],
    kibo: groups[2],

    // nextCode waits for the next mail to the address, and returns its code.
    async nextCode(email) {
      const [text, code] = await until(output, () =>
        output.text.slice(read).match(new RegExp(`Mail to ${email}: your code is (\\d+)\n`)),
      );
      read += output.text.slice(read).indexOf(text) + text.length;
      return code;
    },

    // mails tells how many mails have gone out so far.
    mails: () => output.text.match(/Mail to /g)?.length ?? 0,

    // spoil makes an endpoint of the simulated Kibo fail from now on.
    async spoil(endpoint, fault) {
      const answer = await fetch(`${groups[2]}/__sim/switches`, {
        method: 'PATCH',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ faults: { [endpoint]: fault } }),
      });
      if (!answer.ok) {
        throw new Error(`setting a switch: ${answer.status} ${await answer.text()}`);
      }
    },
  };
}

// startGateway runs the demo, and a Caddy with a Caddyfile of this folder in
// front of its shop and its simulated Kibo, until the test ends.
export async function startGateway(t, caddyfile, env = {}) {
  const storage = await mkdtemp(join(tmpdir(), 'kibo-e2e-'));
  t.after(() => rm(storage, { recursive: true, force: true, maxRetries: 5 }));
  const demo = await startDemo(t);
  const port = await freePort();
  const path = fileURLToPath(new URL(`../${caddyfile}`, import.meta.url));
  await run(t, 'caddy', ['run', '--adapter', 'caddyfile', '--config', path], {
    E2E_PORT: port,
    E2E_KIBO: demo.kibo,
    E2E_SHOP: demo.shop,
    XDG_DATA_HOME: storage,
    KIBO_CLIENT_ID: 'demo.gateway.1.0.0.Release',
    KIBO_SHARED_SECRET: 'demo-shared-secret-known-to-everybody',
    ...env,
  }, [/(serving initial configuration)/]);
  return { demo, port };
}

// freePort returns one that nobody listens on, below those that Linux gives
// away by itself (from 32768): nobody gets it before Caddy listens there.
async function freePort() {
  for (;;) {
    const port = 30000 + Math.floor(Math.random() * 2768);
    const server = createServer();
    const free = await new Promise((resolve) => {
      server.once('error', () => resolve(false));
      server.listen(port, '127.0.0.1', () => resolve(true));
    });
    if (free) {
      await new Promise((resolve) => server.close(resolve));
      return String(port);
    }
  }
}
