// The page of a thing type against a real gateway: its attributes, its telemetry, who may change them, and the units on the device page.
import assert from 'node:assert/strict';
import { openPage } from './browser.mjs';

const password = 'river-lamp-seven-oak';

/** An answer of the gateway to the session of a page. */
export const call = (page, method, path, body) =>
  page.evaluate(
    async ([method, path, body]) => {
      const answer = await fetch(path, { method, headers: { 'X-Muster': '1', 'Content-Type': 'application/json' }, body: body && JSON.stringify(body) });
      const text = await answer.text();
      return { status: answer.status, document: text && JSON.parse(text) };
    },
    [method, path, body],
  );

/** Waits until a field, or its error, says so. */
const invalid = async (page, label, sentence) => {
  await page.locator(`[aria-label="${label}"][aria-invalid="true"]`).waitFor();
  await page.locator('.mantine-InputWrapper-error', { hasText: sentence }).waitFor();
};

export async function typeSteps(checks, page, { address }, theme, picture) {
  const name = `bulb-${theme}-${Math.random().toString(36).slice(2, 7)}`;
  const things = [`${name}-a`, `${name}-b`, `${name}-c`];
  const attributes = page.getByRole('form', { name: 'Schema of the attributes' });
  const save = attributes.getByRole('button', { name: 'Save' });
  const effect = attributes.getByRole('status');
  const dialog = page.getByRole('dialog');

  await checks.step(`${theme}: a type that was just made says what schemas are for`, async () => {
    await page.goto(`${address}/types`);
    await page.getByLabel('Name').fill(name);
    await page.getByRole('button', { name: 'Make' }).click();
    await page.getByRole('link', { name, exact: true }).click();
    await page.getByRole('heading', { level: 1, name }).waitFor();
    await page.getByText('A schema says which attributes').waitFor();
    await page.getByText('A telemetry schema gives').waitFor();
    assert.equal(await page.getByRole('button', { name: 'Save' }).count(), 0);
    for (const [thing, given] of [
      [things[0], { watt: '40' }],
      [things[1], { watt: 'bright' }],
      [things[2], {}],
    ]) {
      const made = await call(page, 'POST', `/iot/things/${thing}`, { thingTypeName: name, attributePayload: { attributes: given } });
      assert.equal(made.status, 200);
    }
  });
  await checks.look(page, picture('type-empty'));
  await checks.step(`${theme}: an attribute is written with the keyboard alone, and the dry run says who would break it`, async () => {
    await attributes.getByRole('button', { name: 'Add an attribute' }).focus();
    await page.keyboard.press('Enter');
    await page.locator('[aria-label="Attribute 1"]:focus').waitFor();
    assert.ok(await save.isDisabled(), 'a row that nobody wrote into can be saved');
    await page.keyboard.type('watt');
    await effect.getByText('3 things have this type, and none would break the schema').waitFor();
    await page.keyboard.press('Tab');
    await page.keyboard.type('number');
    await page.keyboard.press('Tab');
    await page.keyboard.press('Space');
    for (let fields = 0; fields < 3; fields++) await page.keyboard.press('Tab');
    await page.keyboard.type('W');
    assert.equal(await page.getByLabel('Unit of watt', { exact: true }).inputValue(), 'W');
    await effect.getByText('2 of 3 things of this type would break the schema').waitFor();
    const examples = effect.getByRole('listitem');
    await examples.filter({ hasText: things[1] }).getByText('"bright" is not a number').waitFor();
    await examples.filter({ hasText: things[2] }).getByText('the thing type requires it').waitFor();
  });
  await checks.look(page, picture('type-effect'));
  await checks.step(`${theme}: what the gateway refuses stands at the field that it names, and cannot be saved`, async () => {
    await page.getByLabel('Default of watt', { exact: true }).fill('dim');
    await invalid(page, 'Default of watt', '"dim" is not a number');
    assert.ok(await save.isDisabled());
    await attributes.getByRole('button', { name: 'Add an attribute' }).click();
    await page.getByLabel('Attribute 2', { exact: true }).fill('watt');
    await invalid(page, 'Attribute 2', 'it is in the table already');
    await page.getByLabel('Attribute 2', { exact: true }).fill('ci ty');
    await page.getByLabel('Default of watt', { exact: true }).fill('40');
    await invalid(page, 'Attribute 2', '"ci ty" has');
  });
  await checks.look(page, picture('type-refused'));
  await checks.step(`${theme}: a row goes, and the focus stays in the table`, async () => {
    await page.getByLabel('Attribute 2', { exact: true }).fill('city');
    await page.getByLabel('Allowed values of city', { exact: true }).fill('ulm oslo');
    await page.getByRole('button', { name: 'Remove the attribute watt' }).click();
    await page.locator('[aria-label="Remove the attribute city"]:focus').waitFor();
    await page.getByRole('button', { name: 'Remove the attribute city' }).click();
    await page.locator('.edit-add:focus').first().waitFor();
    await attributes.getByRole('button', { name: 'Add an attribute' }).click();
    await page.getByLabel('Attribute 1', { exact: true }).fill('watt');
    await page.getByLabel('Type of watt', { exact: true }).selectOption('number');
    await page.getByLabel('Required of watt', { exact: true }).check();
    await page.getByLabel('Unit of watt', { exact: true }).fill('W');
    await effect.getByText('2 of 3 things').waitFor();
  });
  await checks.step(`${theme}: whoever leaves with something unsaved is asked: by a link, by the browser's button, by closing`, async () => {
    const asked = dialog.getByText('What was changed here is not saved');
    await page.getByRole('navigation').getByRole('link', { name: 'Groups' }).click();
    await asked.waitFor();
    await checks.accessible(page, picture('type-leaving'));
    await checks.shot(page, picture('type-leaving'));
    await dialog.getByRole('button', { name: 'Cancel' }).click();
    await asked.waitFor({ state: 'detached' });
    await page.evaluate(() => history.back());
    await asked.waitFor();
    assert.equal(new URL(page.url()).pathname, `/types/${name}`);
    await dialog.getByRole('button', { name: 'Cancel' }).click();
    await asked.waitFor({ state: 'detached' });
    assert.ok(await page.evaluate(() => !dispatchEvent(new Event('beforeunload', { cancelable: true }))), 'closing is not asked for');
    assert.equal(await page.getByLabel('Attribute 1', { exact: true }).inputValue(), 'watt');
    await page.evaluate(() => history.back());
    await dialog.getByRole('button', { name: 'Leave' }).click();
    await page.waitForURL('**/types');
    await page.getByRole('heading', { level: 1, name: 'Thing types' }).waitFor();
    await page.goForward();
    await page.getByText('A schema says which attributes').waitFor();
  });
  await checks.step(`${theme}: it is saved, and leaving is free again`, async () => {
    await attributes.getByRole('button', { name: 'Add an attribute' }).click();
    await page.getByLabel('Attribute 1', { exact: true }).fill('watt');
    await page.getByLabel('Type of watt', { exact: true }).selectOption('number');
    await page.getByLabel('Required of watt', { exact: true }).check();
    await page.getByLabel('Unit of watt', { exact: true }).fill('W');
    await save.click();
    await effect.getByText('2 of 3 things of this type break the schema').waitFor();
    assert.ok(await save.isDisabled());
    const { document } = await call(page, 'GET', `/api/thing-types/${name}/schema`);
    assert.deepEqual(document, { attributes: { watt: { type: 'number', required: true, unit: 'W' } }, version: 1 });
    assert.ok(await page.evaluate(() => dispatchEvent(new Event('beforeunload', { cancelable: true }))));
  });
  await checks.step(`${theme}: the things that break it are a question to the fleet, by name and by rule`, async () => {
    await effect.getByRole('link', { name: 'Show these 2 in the fleet' }).click();
    await page.locator('.fleet-count b', { hasText: /^2$/ }).waitFor();
    assert.deepEqual((await page.locator('.row-link').allInnerTexts()).map((text) => text.trim()), things.slice(1));
    const rule = encodeURIComponent('(NOT attributes.watt>=0 AND NOT attributes.watt<0)');
    const { document } = await call(page, 'GET', `/api/things?type=${name}&q=${rule}`);
    assert.deepEqual(document.things.map((thing) => thing.thingName), things.slice(1));
    await page.goBack();
    await page.getByLabel('Attribute 1', { exact: true }).waitFor();
  });
  await checks.step(`${theme}: who saves a schema later than somebody else is told, and takes theirs or keeps the own`, async () => {
    const path = `/api/thing-types/${name}/schema`;
    const theirs = (unit) => call(page, 'PUT', path, { attributes: { watt: { type: 'number', required: true, unit } } });
    const late = attributes.getByRole('alert').getByText('somebody else has changed this schema meanwhile');
    const unit = page.getByLabel('Unit of watt', { exact: true });
    assert.equal((await theirs('kW')).status, 200);
    await unit.fill('mW');
    await effect.getByText('would break').waitFor();
    await save.click();
    await late.waitFor();
    assert.equal(await save.count(), 0, 'what came late can be saved as it is');
    await checks.accessible(page, picture('type-overtaken'));
    await checks.shot(page, picture('type-overtaken'));
    await attributes.getByRole('button', { name: 'Show theirs' }).click();
    await late.waitFor({ state: 'detached' });
    await attributes.locator('.edit-add:focus').waitFor();
    assert.equal(await unit.inputValue(), 'kW');
    assert.ok(await save.isDisabled());
    assert.equal((await theirs('MW')).status, 200);
    await unit.fill('mW');
    await effect.getByText('would break').waitFor();
    await save.click();
    await attributes.getByRole('button', { name: 'Keep mine' }).click();
    await late.waitFor({ state: 'detached' });
    assert.equal(await unit.inputValue(), 'mW');
    await save.click();
    await effect.getByText('2 of 3 things of this type break the schema').waitFor();
    const { document } = await call(page, 'GET', path);
    assert.deepEqual([document.attributes.watt.unit, document.version], ['mW', 4]);
  });
  await readingsSteps(checks, page, name, theme, picture);
  await checks.step(`${theme}: a type on a telephone fits the width`, async () => {
    const { width, height } = page.viewportSize();
    await page.setViewportSize({ width: 390, height: 844 });
    try {
      await page.goto(`${address}/types/${name}`);
      await page.getByLabel('Column 1', { exact: true }).waitFor();
      assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), 'the page scrolls sideways');
      await checks.accessible(page, picture('type-phone'));
      await checks.shot(page, picture('type-phone'));
    } finally {
      await page.setViewportSize({ width, height });
    }
  });
  await checks.step(`${theme}: who may only look sees the same without a field`, () => seenByViewer(checks, page, { address, name, theme, picture }));
  await checks.step(`${theme}: without its last attribute the type has no schema`, async () => {
    await page.getByRole('button', { name: 'Remove the attribute watt' }).click();
    await effect.getByText('Without attributes the type has no schema').waitFor();
    await save.click();
    await save.waitFor({ state: 'detached' });
    assert.deepEqual((await call(page, 'GET', `/api/thing-types/${name}/schema`)).document.attributes, {});
    for (const thing of things) assert.equal((await call(page, 'DELETE', `/iot/things/${thing}`)).status, 200);
    assert.equal((await call(page, 'POST', `/iot/thing-types/${name}/deprecate`, {})).status, 200);
  });
  await unitSteps(checks, page, { address }, theme, picture);
}

async function readingsSteps(checks, page, type, theme, picture) {
  const telemetry = page.getByRole('form', { name: 'Schema of the telemetry' });
  const save = telemetry.getByRole('button', { name: 'Save' });
  await checks.step(`${theme}: a column gets a name, a scale and a unit; what is refused stands at its field`, async () => {
    await telemetry.getByRole('button', { name: 'Add a column' }).click();
    await page.locator('[aria-label="Column 1"]:focus').waitFor();
    await page.keyboard.type('t');
    await page.getByLabel('Rename to of t', { exact: true }).fill('temp_c');
    await page.getByLabel('Unit of t', { exact: true }).fill('°C');
    await page.getByLabel('Scale of t', { exact: true }).fill('0,1');
    await invalid(page, 'Scale of t', 'a number, such as 0.1');
    assert.ok(await save.isDisabled());
    await page.getByLabel('Scale of t', { exact: true }).fill('0');
    await save.click();
    await invalid(page, 'Scale of t', 'scale must not be 0');
    await telemetry.getByRole('alert').getByText('Not saved: the column t is not right yet.').waitFor();
    await checks.shot(page, picture('type-readings-refused'));
    await page.getByLabel('Scale of t', { exact: true }).fill('0.1');
    await telemetry.getByRole('button', { name: 'Add a column' }).click();
    await page.getByLabel('Column 2', { exact: true }).fill('noise');
    await page.getByLabel('Drop of noise', { exact: true }).check();
    assert.ok(await page.getByLabel('Unit of noise', { exact: true }).isDisabled());
    await page.getByLabel('Columns that are not in the table').selectOption('drop');
    await save.click();
    await page.getByText('version 1,').waitFor();
    const { document } = await call(page, 'GET', `/api/thing-types/${type}/telemetry`);
    assert.equal(document.unknown, 'drop');
    assert.deepEqual(document.columns, { noise: { drop: true }, t: { rename: 'temp_c', scale: 0.1, unit: '°C' } });
  });
  await checks.step(`${theme}: who saves a telemetry schema later than somebody else is told as well`, async () => {
    const path = `/api/thing-types/${type}/telemetry`;
    const columns = { noise: { drop: true }, t: { rename: 'temp_c', scale: 0.1, unit: 'K' } };
    assert.equal((await call(page, 'PUT', path, { unknown: 'drop', columns })).status, 200);
    await page.getByLabel('Unit of t', { exact: true }).fill('°F');
    await save.click();
    await telemetry.getByRole('alert').getByText('somebody else has changed this schema meanwhile').waitFor();
    await telemetry.getByRole('button', { name: 'Show theirs' }).click();
    await page.getByText('version 2,').waitFor();
    assert.equal(await page.getByLabel('Unit of t', { exact: true }).inputValue(), 'K');
    await page.getByLabel('Unit of t', { exact: true }).fill('°C');
    await save.click();
    await page.getByText('version 3,').waitFor();
  });
  await checks.look(page, picture('type'));
}

async function seenByViewer(checks, page, { address, name, theme, picture }) {
  const username = `vera-${name}`;
  assert.equal((await call(page, 'POST', '/api/users', { username, password, role: 'viewer' })).status, 201);
  const viewer = await openPage(page.context().browser(), { address, theme });
  try {
    await viewer.page.goto(`${address}/login?to=${encodeURIComponent(`/types/${name}`)}`);
    await viewer.page.getByLabel('User name').fill(username);
    await viewer.page.getByRole('textbox', { name: 'Password' }).fill(password);
    await viewer.page.getByRole('button', { name: 'Sign in' }).click();
    await viewer.page.getByRole('heading', { level: 1, name }).waitFor();
    await viewer.page.getByText('2 of 3 things of this type break the schema').waitFor();
    await viewer.page.getByRole('cell', { name: 'temp_c' }).waitFor();
    assert.equal(await viewer.page.locator('#main :is(input, select, form button)').count(), 0);
    await checks.accessible(viewer.page, picture('type-viewer'));
    await checks.shot(viewer.page, picture('type-viewer'));
    await viewer.page.getByRole('link', { name: 'Types', exact: true }).first().click();
    await viewer.page.getByRole('link', { name, exact: true }).waitFor();
    assert.equal(await viewer.page.getByRole('button', { name: /Make|Deprecate|Remove/ }).count(), 0);
    const group = `seen-${name}`;
    assert.equal((await call(page, 'POST', `/iot/thing-groups/${group}`, {})).status, 200);
    await viewer.page.goto(`${address}/groups/${group}`);
    await viewer.page.getByText('There is none now.').waitFor();
    assert.equal(await viewer.page.locator('#main').getByRole('button').count(), 0);
    assert.equal((await call(page, 'DELETE', `/iot/thing-groups/${group}`)).status, 200);
    await viewer.page.goto(`${address}/policies`);
    await viewer.page.getByRole('heading', { level: 1, name: 'Policies' }).waitFor();
    assert.equal(await viewer.page.locator('#main').getByRole('button').count(), 0);
  } finally {
    await viewer.context.close();
    assert.equal((await call(page, 'DELETE', `/api/users/${username}`)).status, 204);
  }
  await page.goto(`${address}/types/${name}`);
}

async function unitSteps(checks, page, { address }, theme, picture) {
  await checks.step(`${theme}: a device shows the unit that its type declares`, async () => {
    await page.goto(`${address}/fleet?q=${encodeURIComponent('telemetry.power_w:*')}`);
    const link = page.locator('.row-link').first();
    await link.waitFor();
    const { document: thing } = await call(page, 'GET', `/api/things/${(await link.innerText()).trim()}`);
    const path = `/api/thing-types/${thing.thingTypeName}/telemetry`;
    assert.equal((await call(page, 'PUT', path, { columns: { power_w: { unit: 'watts' } } })).status, 200);
    try {
      await page.goto(`${address}/fleet/${thing.thingName}?metric=power_w`);
      await page.locator('.twin-table tr', { hasText: 'power_w' }).locator('.unit', { hasText: 'watts' }).waitFor();
      await page.locator('.metric-summary', { hasText: 'watts' }).waitFor();
      await checks.shot(page, picture('device-unit'));
    } finally {
      assert.equal((await call(page, 'DELETE', path)).status, 204);
    }
  });
}
