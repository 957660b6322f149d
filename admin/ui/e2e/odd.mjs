// Names and texts that are unusual and allowed: long ones, with every sign that a name may have, in any script; on a telephone, too.
import assert from 'node:assert/strict';
import { call } from './types.mjs';

export async function oddSteps(checks, page, { address }, theme, picture) {
  const mark = `${theme}-${Math.random().toString(36).slice(2, 7)}`;
  const long = (word) => `${word}:${mark}_${word.repeat(40)}`.slice(0, 128);
  const [thing, type, group, below] = ['thing', 'kind', 'group', 'below'].map(long);
  const policy = `${mark}+=,.@-_${'p'.repeat(128)}`.slice(0, 128);
  const said = 'Straße "north" <b>&amp;</b> \'x\' 東京 ' + 'and so on '.repeat(20).trim();
  const path = (kind, name) => `/${kind}/${encodeURIComponent(name)}`;
  const made = async (method, what, body) => assert.equal((await call(page, method, what, body)).status, 200);
  const heading = (name) => page.getByRole('heading', { level: 1, name, exact: true });
  // What is wider than the page is cut off, unless it is in a place of its own that scrolls.
  const fits = async (what) => {
    const wide = await page.evaluate(() =>
      [...document.querySelectorAll('#main :is(h1, p, a, b, code, dd, button, select)')]
        .filter((each) => each.getBoundingClientRect().right > innerWidth + 1 && !each.closest('.wide-table, .clip, [role=table], .unseen'))
        .map((each) => `${each.tagName} ${each.textContent.slice(0, 40)}`),
    );
    assert.deepEqual(wide, [], `${what}: wider than the page`);
    assert.equal(await page.evaluate(() => document.documentElement.scrollWidth - innerWidth), 0, `${what} scrolls sideways`);
  };

  await checks.step(`${theme}: odd names are opened by a click and by their addresses`, async () => {
    await page.goto(`${address}/fleet`);
    await made('POST', path('iot/thing-types', type), { thingTypeProperties: { thingTypeDescription: said } });
    await made('POST', path('iot/things', thing), { thingTypeName: type, attributePayload: { attributes: { 'a,b@c/d:e#f': 'v[1]=,@' } } });
    await made('POST', path('iot/thing-groups', group), { thingGroupProperties: { thingGroupDescription: said } });
    await made('POST', path('iot/thing-groups', below), { parentGroupName: group });
    await made('PUT', '/iot/thing-groups/addThingToThingGroup', { thingGroupName: below, thingName: thing });
    await made('POST', path('iot/policies', policy), { policyDocument: '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iot:*","Resource":"*"}]}' });
    await page.goto(`${address}/fleet?q=${encodeURIComponent(`thingName:"${thing}"`)}`);
    await page.locator('.row-link').waitFor();
    assert.ok((await page.getByLabel('Type', { exact: true }).boundingBox()).width <= 240, 'a long name makes the choice of types wide');
    await page.locator('.row-link').click();
    await heading(thing).waitFor();
    await page.locator('.device-facts').getByRole('link', { name: below }).click();
    await heading(below).waitFor();
    await page.locator('.members').getByRole('link', { name: thing }).waitFor();
    for (const [what, name] of [['fleet', thing], ['groups', group], ['types', type], ['policies', policy]]) {
      await page.goto(address + path(what, name));
      await heading(name).waitFor();
      await fits(what);
    }
  });
  await checks.step(`${theme}: on a telephone they fit, and a group that was chosen is what is seen`, async () => {
    const { width, height } = page.viewportSize();
    await page.setViewportSize({ width: 390, height: 844 });
    try {
      for (const [what, name] of [['fleet', thing], ['groups', group], ['types', type], ['policies', policy]]) {
        await page.goto(`${address}/${what}`);
        await page.locator('#main h1, .fleet-count').first().waitFor();
        await fits(what);
        await checks.accessible(page, picture(`odd-all-${what}`));
        await page.goto(address + path(what, name));
        await heading(name).waitFor();
        await fits(`${what}, one of them,`);
        assert.ok((await heading(name).boundingBox()).y < 400, `${what}: its name is below the fold`);
        await checks.accessible(page, picture(`odd-${what}`));
        await checks.shot(page, picture(`odd-${what}`));
      }
      await page.goto(address + path('groups', group));
      await page.getByText('Straße "north" <b>').waitFor();
      await page.locator('.groups-back').getByRole('link', { name: 'Groups' }).click();
      await page.locator('.tree').getByRole('link', { name: below }).waitFor();
    } finally {
      await page.setViewportSize({ width, height });
    }
  });
  await checks.step(`${theme}: they go`, async () => {
    await made('DELETE', path('iot/things', thing));
    for (const name of [below, group]) await made('DELETE', path('iot/thing-groups', name));
    await made('DELETE', path('iot/policies', policy));
    await made('POST', `${path('iot/thing-types', type)}/deprecate`, {});
  });
}
