// A browser that does what comes in on stdin, one JSON array a line, and answers each with one line of JSON.
//   node browser.mjs PATH_OF_CHROMIUM [noscript]
//   ["open", URL] ["type", TEXT] ["press", KEY] ["key", KEY] ["size", WIDTH, HEIGHT] ["scheme", "light"|"dark"]
//   ["screenshot", PATH] ["wallet", PRIVATE_KEY]
import { createInterface } from 'node:readline';
import { setTimeout } from 'node:timers/promises';
import { chromium } from 'playwright-core';

const [executablePath, script] = process.argv.slice(2);
const browser = await chromium.launch({
  executablePath,
  args: [
    '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync',
  ],
});
const page = await (await browser.newContext({ javaScriptEnabled: script !== 'noscript' })).newPage();

// What the page wanted that was not the page itself, and what its policy forbade.
const wanted = [];
const complaints = [];
page.on('request', (request) => request.isNavigationRequest() || wanted.push(request.url()));
page.on('console', (message) => /Content Security Policy/.test(message.text()) && complaints.push(message.text()));
let status = 0;
page.on('response', (response) => {
  if (response.request().isNavigationRequest()) status = response.status();
});

// Browsers give a page's first field the focus some time after it has loaded.
const settled = async () => {
  const hasFocus = () => !document.querySelector('[autofocus]') || document.activeElement !== document.body;
  for (let tries = 0; tries < 500 && !(await page.evaluate(hasFocus)); tries++) await setTimeout(10);
};

const actions = {
  open: async (url) => {
    await page.goto(url);
    await settled();
  },
  type: (text) => page.keyboard.type(text),
  // Enter and Space may lead to another page, whose arrival is waited for.
  press: async (key) => {
    const arrived = key === 'Enter' ? page.waitForEvent('load', { timeout: 20_000 }).catch(() => {}) : undefined;
    await page.keyboard.press(key);
    await arrived;
    await settled();
  },
  // Where nothing is to follow.
  key: async (key) => {
    await page.keyboard.press(key);
    await setTimeout(100);
  },
  scheme: (colorScheme) => page.emulateMedia({ colorScheme }),
  // From the next page on there is an Ethereum wallet in the browser that agrees to everything.
  wallet: async (key) => {
    const { privateKeyToAccount } = await import('viem/accounts');
    const account = privateKeyToAccount(key);
    await page.exposeFunction('signWithWallet', (raw) => account.signMessage({ message: { raw } }));
    await page.addInitScript((address) => {
      const request = async ({ method, params }) => (method === 'personal_sign' ? window.signWithWallet(params[0]) : [address]);
      window.ethereum = { request };
    }, account.address);
  },
  size: (width, height) => page.setViewportSize({ width, height }),
  screenshot: (path) => page.screenshot({ path, fullPage: true }),
};

const look = () => page.evaluate(() => {
  const element = document.activeElement;
  const name = (element.labels?.[0] ?? element).innerText?.trim().split('\n')[0] ?? '';
  const all = [...document.querySelectorAll('input:not([type=hidden]), select, button, summary, a.button')];
  const controls = all.filter((one) => one.checkVisibility());
  return {
    title: document.title,
    language: document.documentElement.lang,
    text: document.body.innerText,
    focus: { tag: element.localName, name },
    unlabelled: controls.filter((one) => one.labels?.length === 0 && one.localName !== 'button').length,
    tooSmall: controls.filter((one) => one.getBoundingClientRect().height < 44).length,
    overflows: document.documentElement.scrollWidth > document.documentElement.clientWidth,
    outlined: getComputedStyle(element).outlineStyle !== 'none',
    styled: getComputedStyle(document.body).display === 'grid',
  };
});

for await (const line of createInterface({ input: process.stdin })) {
  const [action, ...args] = JSON.parse(line);
  await actions[action](...args);
  console.log(JSON.stringify({ url: page.url(), status, wanted, complaints, ...(await look()) }));
}
await browser.close();
