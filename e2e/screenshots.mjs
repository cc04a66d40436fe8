// Takes the pictures of the README: npm run screenshots. Made smaller by
// pngquant, which Debian has a package of, as of the fonts (fonts-urw-base35).

import { mkdir } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { closeBrowser, expectHeading, openPage, signIn } from './support/browser.mjs';
import { startDemo } from './support/demo.mjs';

const images = fileURLToPath(new URL('../docs/images/', import.meta.url));

// The support code cleans up after a test; this stands in for one.
const cleanups = [];
const t = { after: (cleanup) => cleanups.unshift(cleanup) };

async function take() {
  await mkdir(images, { recursive: true });
  const demo = await startDemo(t);
  const page = await openPage(t, demo, { viewport: { width: 1000, height: 620 } });
  const picture = (name) => page.screenshot({ path: `${images}${name}.png` });
  await page.goto('/');
  await picture('demo-shop');
  await page.goto('/account');
  await signIn(page, demo, 'jane@example.com');
  await expectHeading(page, 'Your account');
  await page.setViewportSize({ width: 1000, height: 500 });
  await picture('demo-account');
}

try {
  await take();
} finally {
  for (const cleanup of cleanups) {
    await cleanup();
  }
  await closeBrowser();
}
