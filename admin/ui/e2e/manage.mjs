// Groups, types and policies against a real gateway: what the stand-in cannot answer. Names have the theme in them, so that both can run.
import assert from 'node:assert/strict';

const main = '#main';

export async function querySteps(checks, page, { address }, theme, picture) {
  const input = page.getByRole('combobox', { name: 'Search the fleet' });
  const options = page.getByRole('option');
  await checks.step(`${theme}: the query bar says which fields there are, and their values with counts`, async () => {
    await page.goto(`${address}/fleet`);
    await input.fill('attributes.ci');
    await options.first().waitFor();
    assert.equal(await options.first().locator('.mono').innerText(), 'attributes.city:');
    await page.keyboard.press('ArrowDown');
    await page.keyboard.press('Enter');
    assert.equal(await input.inputValue(), 'attributes.city:');
    await page.locator('[role=option] .mono', { hasNotText: ':' }).first().waitFor();
  });
  await checks.look(page, picture('complete'));
  let group;
  await checks.step(`${theme}: a value taken is a question asked`, async () => {
    await page.keyboard.press('ArrowDown');
    const things = Number((await options.first().locator('.muted').innerText()).replace(/[^0-9]/g, ''));
    await page.keyboard.press('Tab');
    await page.waitForURL((url) => /^attributes\.city:./.test(url.searchParams.get('q') ?? ''));
    await page.locator('.fleet-count b', { hasText: String(things) }).waitFor();
    await page.keyboard.press('Escape');
  });
  await checks.step(`${theme}: it is kept as a group that has them`, async () => {
    group = `city-${theme}`;
    const things = await page.locator('.fleet-count b').innerText();
    await page.getByRole('button', { name: 'Keep as group' }).click();
    const form = page.getByRole('form', { name: 'Keep as a dynamic group' });
    await form.getByRole('status').filter({ hasText: `${things} things now` }).waitFor();
    await form.getByLabel('Name of the group').fill(group);
    await checks.shot(page, picture('keep'));
    await form.getByRole('button', { name: 'Keep' }).click();
    await page.getByRole('heading', { level: 1, name: group }).waitFor();
    await page.getByText(`dynamic · ${things} things`).waitFor();
  });
  await checks.look(page, picture('dynamic-group'));
  await checks.step(`${theme}: a wrong query is marked where it is wrong`, async () => {
    await page.goto(`${address}/fleet?q=${encodeURIComponent('attributes.floor:[1 TO')}`);
    await page.locator('.query-problem mark').waitFor();
  });
  await checks.look(page, picture('wrong-query'));
  await checks.step(`${theme}: the group goes`, async () => {
    await page.goto(`${address}/groups/${group}`);
    await page.getByRole('button', { name: 'Remove…' }).click();
    await page.getByRole('button', { name: 'Remove', exact: true }).click();
    await page.waitForURL('**/groups');
  });
}

export async function groupSteps(checks, page, { address }, theme, picture) {
  const north = `north-${theme}`;
  const site = `site-${theme}`;
  const tree = page.locator('.tree');
  const make = async (name, parent) => {
    const form = page.getByRole('form', { name: 'Make a static group' });
    await form.getByLabel('Make a static group').fill(name);
    if (parent) await form.getByLabel('Below').selectOption(parent);
    await form.getByRole('button', { name: 'Make' }).click();
    await page.getByRole('heading', { level: 1, name }).waitFor();
  };
  let thing;
  await checks.step(`${theme}: groups are made, one below the other`, async () => {
    await page.goto(`${address}/fleet`);
    thing = (await page.locator('.row-link').first().innerText()).trim();
    await page.goto(`${address}/groups`);
    await page.getByRole('heading', { name: 'A group is a place in a tree, or a query' }).waitFor();
    await make(north);
    await make(site, north);
    await tree.locator('li', { hasText: site }).waitFor();
  });
  await checks.step(`${theme}: a thing in the lower one counts above`, async () => {
    await page.getByLabel('Put a thing into it').fill(thing);
    await page.getByRole('button', { name: 'Put', exact: true }).click();
    await page.locator('.members li', { hasText: thing }).waitFor();
    await tree.locator('li', { hasText: north }).getByText('1', { exact: true }).waitFor();
  });
  await checks.look(page, picture('group'));
  await checks.step(`${theme}: the thing says that it is in it`, async () => {
    await page.locator('.members').getByRole('link', { name: thing }).click();
    await page.locator('.device-facts').getByRole('link', { name: site }).waitFor();
    await page.goBack();
  });
  await checks.step(`${theme}: its members are a question to the fleet`, async () => {
    await tree.getByRole('link', { name: north }).click();
    await page.getByRole('link', { name: 'Show in the fleet' }).click();
    await page.waitForURL((url) => url.searchParams.get('q') === `group:${north}`);
    await page.locator('.row-link', { hasText: thing }).waitFor();
    assert.equal(await page.locator('.fleet-body .fleet-row').count(), 1);
  });
  await checks.step(`${theme}: a group moves, and goes`, async () => {
    await page.goto(`${address}/groups/${site}`);
    await page.getByLabel('Move it, with all below it, to').selectOption('');
    await page.getByText(`${site} is at the top now.`).waitFor();
    for (const name of [site, north]) {
      await page.goto(`${address}/groups/${name}`);
      await page.getByRole('button', { name: 'Remove…' }).click();
      await page.getByRole('button', { name: 'Remove', exact: true }).click();
      await page.waitForURL('**/groups');
    }
  });
  await checks.step(`${theme}: a type is made and deprecated`, async () => {
    const name = `kind-${theme}`;
    await page.goto(`${address}/types`);
    await page.getByLabel('Name').fill(name);
    await page.getByRole('button', { name: 'Make' }).click();
    const row = page.locator(`${main} tbody tr`, { hasText: name });
    await row.getByRole('button', { name: 'Deprecate' }).click();
    await row.getByText('deprecated').waitFor();
  });
  await checks.look(page, picture('types'));
}

export async function policySteps(checks, page, { address }, theme, picture) {
  const name = `deny-secrets-${theme}`;
  const group = `guests-${theme}`;
  let thing;
  await checks.step(`${theme}: a policy is made and edited`, async () => {
    await page.goto(`${address}/fleet`);
    thing = (await page.locator('.row-link').first().innerText()).trim();
    await page.goto(`${address}/policies`);
    await page.getByLabel('Name').fill(name);
    await page.getByRole('button', { name: 'Make' }).click();
    await page.getByRole('heading', { level: 1, name }).waitFor();
    const document = page.getByLabel('Document of the policy');
    await document.fill('{ "Version": ');
    await page.getByText('Not JSON yet').waitFor();
    const deny = { Effect: 'Deny', Action: 'iot:Publish', Resource: 'arn:aws:iot:*:*:topic/dt/*/secret' };
    await document.fill(JSON.stringify({ Version: '2012-10-17', Statement: [deny] }));
    await page.getByRole('button', { name: 'Put in force' }).first().click();
    await page.locator('.page-head').getByText('version 2 is in force').waitFor();
  });
  await checks.step(`${theme}: attached to a group, it denies what it says and nothing else`, async () => {
    const call = (method, path, body) =>
      page.evaluate(
        async ([method, path, body]) => (await fetch(path, { method, headers: { 'X-Muster': '1', 'Content-Type': 'application/json' }, body: JSON.stringify(body) })).status,
        [method, path, body],
      );
    assert.equal(await call('POST', `/iot/thing-groups/${group}`, {}), 200);
    assert.equal(await call('PUT', '/iot/thing-groups/addThingToThingGroup', { thingGroupName: group, thingName: thing }), 200);
    await page.getByLabel('Its name').fill(group);
    await page.getByRole('button', { name: 'Attach' }).click();
    await page.locator('.names').getByRole('link', { name: group }).waitFor();
    const ask = async (topic) => {
      await page.getByLabel('May the thing').fill(thing);
      await page.getByLabel('to the topic').fill(topic);
      await page.getByRole('button', { name: 'Ask' }).click();
    };
    await ask(`dt/${thing}/secret`);
    await page.locator('.answer', { hasText: 'denied by a policy' }).waitFor();
    assert.match(await page.locator('.answer').innerText(), new RegExp(name));
  });
  await checks.step(`${theme}: what is written is tried before it is in force`, async () => {
    const document = page.getByLabel('Document of the policy');
    const deny = { Effect: 'Deny', Action: 'iot:Publish', Resource: 'arn:aws:iot:*:*:topic/dt/*/hidden' };
    await document.fill(JSON.stringify({ Version: '2012-10-17', Statement: [deny] }));
    await page.getByText('with the document as it is written now').waitFor();
    await page.getByRole('button', { name: 'Ask' }).click();
    await page.locator('.answer', { hasText: 'Now it is denied by a policy.' }).waitFor();
    assert.match(await page.locator('.answer .status').first().innerText(), /^allowed/);
    await page.getByRole('button', { name: 'Undo' }).click();
  });
  await checks.look(page, picture('policy'));
  await checks.step(`${theme}: a policy goes when nobody has it`, async () => {
    await page.getByRole('button', { name: `Detach from ${group}` }).click();
    await page.getByText('Nobody has it yet.').waitFor();
    await page.getByRole('button', { name: 'Remove…' }).click();
    await page.getByRole('button', { name: 'Remove', exact: true }).click();
    await page.waitForURL('**/policies');
    await page.goto(`${address}/groups/${group}`);
    await page.getByRole('button', { name: 'Remove…' }).click();
    await page.getByRole('button', { name: 'Remove', exact: true }).click();
    await page.waitForURL('**/groups');
  });
}
