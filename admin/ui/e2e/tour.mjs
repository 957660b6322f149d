// What a person does, screen by screen.
import assert from 'node:assert/strict';
import { openPage } from './browser.mjs';
import { keySteps, userSteps } from './accounts.mjs';
import { exploreSteps } from './explore.mjs';
import { groupSteps, policySteps, querySteps } from './manage.mjs';
import { oddSteps } from './odd.mjs';
import { typeSteps } from './types.mjs';

// The browser itself writes a line for each answer that is no success. Asking who is signed in, before anyone is, has one.
const firstVisit = [/status of 401 .*\/api\/me/];

const main = '#main';

/** The number in front of a word: "198 connected" -> 198. */
async function numberIn(locator) {
  return Number((await locator.innerText()).replace(/[^0-9.]/g, ''));
}

async function signIn(page, { address, code }, target = '/') {
  await page.goto(`${address}${target}#code=${code}`);
  await page.locator('.rail').waitFor();
}

/** Whether a canvas has been drawn on: how many of its pixels are not transparent. */
function drawnPixels(canvas) {
  return canvas.evaluate((element) => {
    const { data } = element.getContext('2d').getImageData(0, 0, element.width, element.height);
    let drawn = 0;
    for (let at = 3; at < data.length; at += 4) if (data[at]) drawn++;
    return drawn;
  });
}

async function eventually(what, test, timeoutMs = 20_000) {
  const end = Date.now() + timeoutMs;
  for (;;) {
    if (await test()) return;
    if (Date.now() > end) throw new Error(`did not happen in ${timeoutMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

/** A new gateway: the setup page with its code filled in, then the overview. */
export async function firstSetup(browser, checks, mock) {
  console.log(`\n${mock.name}`);
  for (const theme of ['light', 'dark']) {
    const { page, verdict } = await openPage(browser, { address: mock.address, theme });
    if (theme === 'light') {
      await checks.step('a new gateway leads to its setup', async () => {
        await page.goto(`${mock.address}/#code=${mock.code}`);
        await page.getByRole('heading', { name: 'Set up this gateway' }).waitFor();
        assert.equal(await page.getByLabel('One-time code').inputValue(), mock.code);
        assert.equal(new URL(page.url()).hash, '', 'the code stays in the address');
      });
      await checks.look(page, `setup-${theme}`);
      await checks.step('a weak password is not taken', async () => {
        await page.getByLabel('User name').fill('ana');
        await page.getByRole('textbox', { name: 'Password' }).fill('short');
        assert.ok(await page.getByRole('button', { name: 'Make the account' }).isDisabled());
      });
      await checks.step('the account is made and signed in', async () => {
        await page.getByRole('textbox', { name: 'Password' }).fill('river-lamp-seven-oak');
        await page.getByRole('button', { name: 'Make the account' }).click();
        await page.getByRole('heading', { name: 'No device has enrolled yet' }).waitFor();
      });
      await checks.step('signing out leads to the login', async () => {
        await page.getByRole('button', { name: 'ana' }).click();
        await page.getByRole('menuitem', { name: 'Sign out' }).click();
        await page.getByRole('heading', { name: 'Sign in to muster' }).waitFor();
      });
    } else {
      await page.goto(`${mock.address}/login`);
    }
    await checks.look(page, `login-${theme}`, page.getByLabel('User name'));
    if (theme === 'light') {
      await checks.step('a wrong password gets the sentence of the server', async () => {
        await page.getByLabel('User name').fill('ana');
        await page.getByRole('textbox', { name: 'Password' }).fill('not the right one');
        await page.getByRole('button', { name: 'Sign in' }).click();
        await page.getByText('The user name or the password is wrong.').waitFor();
      });
      await checks.step('the right one leads to where the visitor wanted to go', async () => {
        await page.goto(`${mock.address}/fleet?state=offline`);
        await page.getByLabel('User name').fill('ana');
        await page.getByRole('textbox', { name: 'Password' }).fill('river-lamp-seven-oak');
        await page.getByRole('button', { name: 'Sign in' }).click();
        await page.waitForURL('**/fleet?state=offline');
      });
    }
    await verdict(checks, `${mock.name} ${theme}`, [...firstVisit, /status of 401 .*\/api\/login/, /status of 400 .*\/api\/me\/password/]);
  }
}

/** A gateway without things says how to get the first. */
export async function emptyGateway(browser, checks, mock) {
  console.log(`\n${mock.name}`);
  for (const theme of ['light', 'dark']) {
    const { page, verdict } = await openPage(browser, { address: mock.address, theme });
    await checks.step(`${theme}: the first device's commands name this gateway`, async () => {
      await signIn(page, mock);
      await page.getByRole('heading', { name: 'No device has enrolled yet' }).waitFor();
      assert.match(await page.locator('.command').last().innerText(), new RegExp(`127.0.0.1 --http-port ${new URL(mock.address).port} `));
    });
    await checks.look(page, `empty-overview-${theme}`);
    await page.goto(`${mock.address}/fleet`);
    await checks.look(page, `empty-fleet-${theme}`, page.getByRole('heading', { name: 'No device has enrolled yet' }));
    await verdict(checks, `${mock.name} ${theme}`, firstVisit);
  }
}

/** Silence, an ended session, a thing that is not there: what is shown stays true, and nothing asked for is lost. */
export async function troubles(browser, checks, mock) {
  console.log(`\n${mock.name}`);
  const { page, verdict } = await openPage(browser, { address: mock.address });
  await signIn(page, mock);
  await checks.step('figures that stop say how old they are', async () => {
    await page.locator('.liveness', { hasText: 'live' }).waitFor();
    mock.pause(true);
    await page.locator('.liveness', { hasText: /figures \d+ s old/ }).waitFor({ timeout: 10_000 });
    await checks.shot(page, 'stale-light');
    mock.pause(false);
    await page.locator('.liveness', { hasText: 'live' }).waitFor();
  });
  await checks.step('a second tab shares the stream', async () => {
    const second = await page.context().newPage();
    const streams = [];
    second.on('request', (request) => request.url().endsWith('/live') && streams.push(request.url()));
    await second.goto(mock.address);
    await second.locator('.liveness', { hasText: 'live' }).waitFor();
    const figures = second.locator('.figures');
    const before = await figures.innerText();
    await eventually('the second tab is live', async () => (await figures.innerText()) !== before);
    assert.equal(streams.length, 0, 'it opened a stream of its own');
    await second.close();
  });
  await checks.step('an unknown thing is named in a sentence', async () => {
    await page.goto(`${mock.address}/fleet/nobody`);
    await page.getByText('There is no thing nobody.').waitFor();
  });
  await checks.step('an unknown page leads back', async () => {
    await page.goto(`${mock.address}/no/such/page`);
    await page.getByRole('heading', { name: 'There is no such page' }).waitFor();
  });
  await checks.step('an ended session leads to the login and back to the same address', async () => {
    await page.goto(`${mock.address}/fleet/lamp-000002?metric=temp_c&range=6h`);
    await page.locator('.metric canvas').waitFor();
    mock.forget();
    await page.getByRole('heading', { name: 'Sign in to muster' }).waitFor({ timeout: 15_000 });
    await page.goto(`${page.url()}#code=${mock.code}`);
    await page.reload();
    await page.waitForURL(`${mock.address}/fleet/lamp-000002?metric=temp_c&range=6h`);
    await page.locator('.metric canvas').waitFor();
  });
  for (const [width, height, name] of [
    [760, 900, 'tablet'],
    [390, 844, 'phone'],
  ]) {
    await page.setViewportSize({ width, height });
    for (const [screen, path] of [
      ['overview', '/'],
      ['fleet', '/fleet'],
      ['device', '/fleet/lamp-000002'],
    ]) {
      await page.goto(mock.address + path);
      await checks.step(`${name}: the ${screen} fits the width`, async () => {
        await page.locator(`${main} :is(h1, .fleet-row)`).first().waitFor();
        assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), 'the page scrolls sideways');
      });
      await checks.look(page, `${name}-${screen}-light`);
    }
  }
  await verdict(checks, mock.name, [...firstVisit, /status of 401 /, /status of 404 .*\/api\/things\/nobody/, /EventSource/]);
}

/** Every screen of a gateway with things on it. Works against the stand-in and against a real one. */
export async function wholeTour(browser, checks, gateway) {
  console.log(`\n${gateway.name}`);
  const first = await openPage(browser, { address: gateway.address });
  let state;
  await checks.step('a one-time code signs in at once', async () => {
    await signIn(first.page, gateway);
    assert.equal(new URL(first.page.url()).hash, '', 'the code stays in the address');
    state = await first.context.storageState();
  });
  await first.verdict(checks, 'signing in', firstVisit);
  if (!state) return;

  for (const theme of ['light', 'dark']) {
    const { page, context, verdict } = await openPage(browser, { address: gateway.address, theme });
    await context.addCookies(state.cookies);
    const picture = (screen) => `${gateway.name}-${screen}-${theme}`;
    await overviewSteps(checks, page, gateway, theme, picture);
    await fleetSteps(checks, page, gateway, theme, picture);
    await deviceSteps(checks, page, gateway, theme, picture);
    await settingsSteps(checks, page, gateway, theme, picture);
    if (gateway.real) {
      await exploreSteps(checks, page, gateway, theme, picture);
      await userSteps(checks, page, gateway, theme, picture);
      await keySteps(checks, page, gateway, theme, picture);
      await querySteps(checks, page, gateway, theme, picture);
      await groupSteps(checks, page, gateway, theme, picture);
      await policySteps(checks, page, gateway, theme, picture);
      await typeSteps(checks, page, gateway, theme, picture);
      await oddSteps(checks, page, gateway, theme, picture);
    }
    // The browser writes a line for the queries that are refused on purpose.
    await verdict(checks, `${gateway.name} ${theme}`, [
      /status of 400 .*\/api\/things\?/,
      /status of 400 .*\/prometheus\//,
      /status of 401 .*\/api\/login/,
      /status of 400 .*\/api\/me\/password/,
      // A schema that was refused, and one that came late.
      /status of 40[09] .*\/api\/thing-types\//,
    ]);
  }
}

async function overviewSteps(checks, page, { address }, theme, picture) {
  await checks.step(`${theme}: the overview counts the fleet`, async () => {
    await page.goto(address);
    const things = page.locator(`${main} h1 a`).first();
    await things.waitFor();
    assert.ok((await numberIn(things)) > 0, 'no things');
    assert.equal(await page.evaluate(() => document.documentElement.getAttribute('data-mantine-color-scheme')), theme);
  });
  await checks.step(`${theme}: its figures are live`, async () => {
    const figures = page.locator('.figures');
    const before = await figures.innerText();
    await eventually('the figures change', async () => (await figures.innerText()) !== before);
    await page.locator('.liveness', { hasText: 'live' }).waitFor();
  });
  await checks.step(`${theme}: its charts are drawn`, async () => {
    await page.locator('.strip canvas').nth(1).waitFor();
    await eventually('two charts with pixels', async () => (await drawnPixels(page.locator('.strip canvas').first())) > 500);
  });
  await checks.look(page, picture('overview'));
  await checks.step(`${theme}: a number leads to the list behind it`, async () => {
    await page.locator(`${main} h1 a`, { hasText: 'connected' }).click();
    await page.waitForURL('**/fleet?state=connected');
  });
}

async function fleetSteps(checks, page, { address }, theme, picture) {
  const rows = page.locator('.fleet-body .fleet-row');
  const total = async () => numberIn(page.locator('.fleet-count b'));
  let all = 0;
  await checks.step(`${theme}: the fleet list shows rows`, async () => {
    await page.goto(`${address}/fleet`);
    await rows.first().waitFor();
    all = await total();
    const shown = await rows.count();
    assert.ok(shown > 10 && shown < 100, `${shown} rows in the DOM`);
  });
  await checks.look(page, picture('fleet'));
  await checks.step(`${theme}: scrolling brings the far rows, few at a time`, async () => {
    const list = page.locator('.fleet-list');
    const want = Math.min(all, 1200);
    await eventually(`row ${want}`, async () => {
      await list.evaluate((element) => element.scrollTo(0, element.scrollHeight));
      const last = await rows.last().getAttribute('aria-rowindex');
      return Number(last) >= want;
    }, 20_000);
    assert.ok((await rows.count()) < 100);
    await list.evaluate((element) => element.scrollTo(0, 0));
  });
  await checks.step(`${theme}: / searches, the address has the question`, async () => {
    const name = (await page.locator('.row-link').first().innerText()).trim();
    await page.locator('.fleet-count').click(); // the keyboard is nobody's
    await page.keyboard.press('/');
    await page.keyboard.type(name);
    await page.waitForURL((url) => url.searchParams.get('q') === name);
    await eventually('one match', async () => (await total()) === 1 && (await rows.count()) === 1);
  });
  await checks.step(`${theme}: a filter without a match says so and lets go`, async () => {
    await page.goto(`${address}/fleet?q=no-such-thing`);
    await page.getByRole('button', { name: 'Show the whole fleet' }).click();
    await rows.first().waitFor();
    assert.equal(new URL(page.url()).search, '');
  });
  await checks.step(`${theme}: state filter and sorting are in the address`, async () => {
    await page.locator('.fleet-bar').getByText('Connected').click();
    await page.getByRole('button', { name: 'Last seen' }).click();
    await page.waitForURL('**/fleet?state=connected&sort=lastSeen');
    await eventually('a list sorted by last seen', async () => (await page.locator('[aria-sort="descending"]').innerText()).includes('Last seen'));
  });
  await checks.step(`${theme}: keys that come faster than frames count, each of them`, async () => {
    await page.goto(`${address}/fleet`);
    await rows.first().waitFor();
    // In one task of the page: no frame lies between them.
    const press = (keys) =>
      page.evaluate((keys) => {
        for (const key of keys) (document.activeElement ?? document.body).dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true, cancelable: true }));
      }, keys);
    await press([...'jjjjj']);
    await page.locator('[data-row="4"] .row-link:focus').waitFor();
    await Promise.all([...'jjjjj'].map((key) => page.keyboard.press(key)));
    await page.locator('[data-row="9"] .row-link:focus').waitFor();
    // Farther than what is drawn: the row comes with the frames after.
    await press([...'j'.repeat(120), ...'kkk']);
    await page.locator('[data-row="126"] .row-link:focus').waitFor();
  });
  await checks.step(`${theme}: j, k and Enter open a thing`, async () => {
    await page.goto(`${address}/fleet?state=connected`);
    await rows.first().waitFor();
    for (const key of ['j', 'j', 'k']) await page.keyboard.press(key);
    const focused = page.locator('[data-row="0"] .row-link:focus');
    const name = (await focused.innerText()).trim();
    await page.keyboard.press('Enter');
    await page.getByRole('heading', { level: 1, name }).waitFor();
    await page.goBack();
    await page.waitForURL('**/fleet?state=connected');
  });
}

async function deviceSteps(checks, page, { address }, theme, picture) {
  await checks.step(`${theme}: a device shows its twin`, async () => {
    await page.goto(`${address}/fleet?state=connected`);
    await page.locator('.row-link').first().click();
    await page.locator('.twin-table tbody tr').first().waitFor();
    assert.ok((await page.locator('.twin-table tbody tr').count()) > 2);
    await page.locator('.sparkline').first().waitFor();
  });
  const canvas = page.locator('.metric canvas');
  await checks.step(`${theme}: its chart is drawn`, async () => {
    const row = page.locator('.twin-table tbody tr', { has: page.locator('button') });
    await row.nth(Math.min(3, (await row.count()) - 1)).click();
    await page.waitForURL((url) => url.searchParams.get('metric') !== null);
    await canvas.waitFor();
    await eventually('a chart with pixels', async () => (await drawnPixels(canvas)) > 500);
  });
  await checks.look(page, picture('device'));
  await checks.step(`${theme}: brushing zooms, and the address keeps it`, async () => {
    const box = await canvas.boundingBox();
    await page.mouse.move(box.x + box.width * 0.6, box.y + 100);
    await page.mouse.down();
    await page.mouse.move(box.x + box.width * 0.9, box.y + 120, { steps: 5 });
    await page.mouse.up();
    await page.waitForURL((url) => Number(url.searchParams.get('to')) > Number(url.searchParams.get('from')));
    await page.getByRole('button', { name: 'Back to the whole range' }).click();
    await page.waitForURL((url) => url.searchParams.get('to') === null);
  });
  await checks.step(`${theme}: the range is in the address`, async () => {
    await page.locator('.metric').getByText('15m', { exact: true }).click();
    await page.waitForURL((url) => url.searchParams.get('range') === '15m');
  });
  await checks.step(`${theme}: the chart has a table`, async () => {
    await page.getByRole('button', { name: 'Show as table' }).click();
    assert.ok((await page.locator('.metric-table tbody tr').count()) > 3);
  });
  await checks.look(page, picture('device-table'));
}

async function settingsSteps(checks, page, { address }, theme, picture) {
  const key = [...crypto.getRandomValues(new Uint8Array(32))].map((byte) => byte.toString(16).padStart(2, '0')).join('');
  const thing = `e2e-${theme}-${key.slice(0, 6)}`;
  await checks.step(`${theme}: a key is allowed and removed again`, async () => {
    await page.goto(`${address}/enrollment`);
    await page.getByLabel('Thing', { exact: true }).fill(thing);
    await page.getByLabel('SHA-256 of the public key').fill(key.toUpperCase().replace(/..(?=.)/g, '$&:'));
    await page.getByRole('button', { name: 'Allow', exact: true }).click();
    await page.getByText(`${thing} may enroll.`).waitFor();
    await page.getByRole('button', { name: `Remove the key of ${thing}` }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Remove', exact: true }).click();
    await eventually('the row leaves', async () => (await page.getByRole('button', { name: `Remove the key of ${thing}` }).count()) === 0);
  });
  await checks.step(`${theme}: a CSV file is taken, its bad rows are named`, async () => {
    const text = `thingName,spkiSha256,thingTypeName\n${thing},${key},\nbad,zz,\n`;
    await page.locator('input[type=file]').setInputFiles({ name: 'keys.csv', mimeType: 'text/csv', buffer: Buffer.from(text) });
    await page.getByText('1 row was not taken').waitFor();
    await page.locator('.row-errors', { hasText: 'line 3' }).waitFor();
  });
  await checks.look(page, picture('enrollment'));
  await checks.step(`${theme}: what the agent prints may be pasted`, async () => {
    const pasted = key.replace(/^../, 'ab');
    await page.getByLabel('Thing', { exact: true }).focus();
    await page.evaluate((text) => {
      const clipboardData = new DataTransfer();
      clipboardData.setData('text', text);
      document.activeElement.dispatchEvent(new ClipboardEvent('paste', { clipboardData, bubbles: true, cancelable: true }));
    }, `thingName,spkiSha256,thingTypeName\n${thing}-p,${pasted},lamp\n`);
    assert.equal(await page.getByLabel('SHA-256 of the public key').inputValue(), pasted);
    assert.equal(await page.getByLabel('Thing', { exact: true }).inputValue(), `${thing}-p`);
  });
  await checks.step(`${theme}: the list can be filtered, and is left as it was`, async () => {
    const remove = page.getByRole('button', { name: `Remove the key of ${thing}` });
    await page.getByLabel('Filter the keys').fill(thing);
    await eventually('one row', async () => (await page.locator('table.grid tbody tr').count()) === 1);
    await remove.click();
    await page.getByRole('dialog').getByRole('button', { name: 'Remove', exact: true }).click();
    await eventually('the row leaves', async () => (await remove.count()) === 0);
  });
  await checks.step(`${theme}: a token is shown once and can be removed`, async () => {
    await page.goto(`${address}/tokens`);
    await page.getByLabel('Name').fill(thing);
    await page.getByRole('button', { name: 'Make', exact: true }).click();
    await page.locator('.command', { hasText: 'mst_' }).first().waitFor();
  });
  await checks.look(page, picture('tokens'));
  await checks.step(`${theme}: the token goes when it is removed`, async () => {
    const remove = page.getByRole('button', { name: `Remove the token ${thing}` });
    await remove.click();
    await page.getByRole('dialog').getByRole('button', { name: 'Remove', exact: true }).click();
    await eventually('the row leaves', async () => (await remove.count()) === 0);
    await page.reload();
    await page.getByRole('heading', { name: 'Access tokens' }).waitFor();
    assert.equal(await page.getByText('mst_').count(), 0, 'the token is shown again');
  });
  await checks.step(`${theme}: the audit names what was done`, async () => {
    await page.goto(`${address}/audit`);
    await page.locator('table.grid tbody tr').first().waitFor();
  });
  await checks.look(page, picture('audit'));
  await page.goto(`${address}/about`);
  await checks.look(page, picture('about'), page.getByRole('heading', { name: 'This gateway' }));
}
