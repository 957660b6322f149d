// Starts Chromium, watches a page for everything that must not happen, and keeps the score.
import { mkdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { chromium } from 'playwright-core';

const axeSource = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

export function openBrowser(executablePath = '/usr/bin/chromium') {
  return chromium.launch({
    executablePath,
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
    ],
  });
}

export class Checks {
  passed = 0;
  failed = 0;

  constructor(shots) {
    this.shots = shots;
    if (shots) mkdirSync(shots, { recursive: true });
  }

  ok(good, what, detail = '') {
    if (good) this.passed++;
    else this.failed++;
    console.log(`${good ? '  ok' : 'FAIL'}  ${what}${!good && detail ? `\n      ${detail}` : ''}`);
  }

  /** Runs one step; what it throws is its failure, and the steps after it still run. */
  async step(what, work) {
    try {
      await work();
      this.ok(true, what);
    } catch (cause) {
      this.ok(false, what, String(cause.message ?? cause).split('\n').slice(0, 6).join('\n      '));
    }
  }

  async shot(page, name) {
    if (this.shots) await page.screenshot({ path: join(this.shots, `${name}.png`) });
  }

  /** A screen as it stands once `settled` is there: axe over it, and its picture. */
  async look(page, name, settled) {
    await this.step(`${name} comes up`, async () => settled?.waitFor());
    await this.accessible(page, name);
    await this.shot(page, name);
  }

  /** axe on the page as it stands. */
  async accessible(page, what) {
    // evaluate runs in the page without being a script of it: the content policy stays whole.
    await page.evaluate(axeSource);
    const found = await page.evaluate(() =>
      globalThis.axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22a', 'wcag22aa'], resultTypes: ['violations'] }),
    );
    const lines = found.violations.map(
      (each) => `${each.id}: ${each.help}: ${each.nodes.slice(0, 3).map((node) => `${node.target} ${node.any[0]?.message ?? node.failureSummary}`).join(' | ')}`,
    );
    this.ok(lines.length === 0, `axe: ${what}`, lines.join('\n      '));
  }
}

/** A fresh browser profile whose page is watched; `verdict` scores what was seen. */
export async function openPage(browser, { address, theme = 'light', width = 1440, height = 900 }) {
  const context = await browser.newContext({
    ignoreHTTPSErrors: true,
    colorScheme: theme,
    reducedMotion: 'reduce',
    viewport: { width, height },
    permissions: [],
  });
  const host = new URL(address).host;
  const seen = { console: [], policy: [], foreign: [] };
  context.on('request', (request) => {
    const url = new URL(request.url());
    if (/^(https?|wss?):$/.test(url.protocol) && url.host !== host) seen.foreign.push(request.url());
  });
  const watch = (page) => {
    page.on('pageerror', (error) => seen.console.push(`page error: ${error.message}`));
    page.on('console', (message) => {
      const text = message.text();
      if (/Content Security Policy/i.test(text)) seen.policy.push(text);
      else if (message.type() === 'error' || message.type() === 'warning') seen.console.push(`${message.type()}: ${text} (${message.location().url})`);
    });
  };
  context.on('page', watch);
  await context.addInitScript(() => {
    addEventListener('securitypolicyviolation', (event) => console.error(`Content Security Policy: ${event.violatedDirective} ${event.blockedURI}`));
  });
  const page = await context.newPage();
  page.setDefaultTimeout(20_000); // only what fails takes so long, on however slow a machine
  return {
    page,
    context,
    seen,
    /** expected: console lines that belong to the steps, such as the 401 of a first visit. */
    async verdict(checks, name, expected = []) {
      const errors = seen.console.filter((line) => !expected.some((pattern) => pattern.test(line)));
      checks.ok(errors.length === 0, `${name}: no console error`, errors.slice(0, 5).join('\n      '));
      checks.ok(seen.policy.length === 0, `${name}: no violation of the content policy`, seen.policy.slice(0, 5).join('\n      '));
      checks.ok(seen.foreign.length === 0, `${name}: no request to another host`, seen.foreign.slice(0, 5).join('\n      '));
      await context.close();
    },
  };
}
