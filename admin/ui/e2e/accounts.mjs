// Users and access keys against a real gateway. Names have the theme in them, so that both can run.
import assert from 'node:assert/strict';

const toPhone = async (checks, page, address, path, picture) => {
  const { width, height } = page.viewportSize();
  await page.setViewportSize({ width: 390, height: 844 });
  try {
    await page.goto(address + path);
    await page.locator('table.grid tbody tr').first().waitFor();
    assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), 'the page scrolls sideways');
    await checks.accessible(page, picture);
    await checks.shot(page, picture);
  } finally {
    await page.setViewportSize({ width, height });
  }
};

export async function userSteps(checks, page, { address }, theme, picture) {
  const name = `ana-${theme}-${Math.random().toString(36).slice(2, 7)}`;
  const row = page.locator('table.grid tbody tr', { hasText: name });
  const dialog = page.getByRole('dialog');
  const password = dialog.getByRole('textbox', { name: 'Password' });
  const signIn = (secret) =>
    page.evaluate(
      async ([username, password]) =>
        (await fetch('/api/login', { method: 'POST', credentials: 'omit', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ username, password }) })).status,
      [name, secret],
    );
  await checks.step(`${theme}: a user is made, with a password that is good enough`, async () => {
    await page.goto(`${address}/users`);
    await page.getByLabel('Name').fill(name);
    await page.getByLabel('Role', { exact: true }).selectOption('operator');
    await page.getByRole('button', { name: 'Make', exact: true }).click();
    await password.fill('short');
    assert.ok(await dialog.getByRole('button', { name: 'Make the user' }).isDisabled());
    await password.fill('river-lamp-seven-oak');
    await checks.accessible(page, picture('user-password'));
    await checks.shot(page, picture('user-password'));
    await dialog.getByRole('button', { name: 'Make the user' }).click();
    await row.waitFor();
    assert.equal(await page.getByLabel('Name').inputValue(), '');
    assert.equal(await page.getByLabel(`Role of ${name}`).inputValue(), 'operator');
    assert.equal(await signIn('river-lamp-seven-oak'), 200);
  });
  await checks.look(page, picture('users'));
  await checks.step(`${theme}: a role is changed`, async () => {
    await page.getByLabel(`Role of ${name}`).selectOption('viewer');
    await page.getByText(`${name} is viewer now`).waitFor();
  });
  await checks.step(`${theme}: who is disabled cannot sign in`, async () => {
    await page.getByRole('button', { name: `Disable ${name}` }).click();
    await row.getByText('disabled').waitFor();
    assert.equal(await signIn('river-lamp-seven-oak'), 401);
    await page.getByRole('button', { name: `Enable ${name}` }).click();
    await row.getByText('may sign in').waitFor();
  });
  await checks.step(`${theme}: a new password is set`, async () => {
    await page.getByRole('button', { name: `New password for ${name}` }).click();
    await password.fill('violet-tram-9-lanterns');
    await dialog.getByRole('button', { name: 'Set the password' }).click();
    await page.getByText(`${name} signs in with the new password.`).waitFor();
    assert.equal(await signIn('violet-tram-9-lanterns'), 200);
  });
  await checks.step(`${theme}: a user goes`, async () => {
    await page.getByRole('button', { name: `Remove ${name}` }).click();
    await dialog.getByRole('button', { name: 'Remove', exact: true }).click();
    await row.waitFor({ state: 'detached' });
  });
  await checks.step(`${theme}: users on a telephone`, () => toPhone(checks, page, address, '/users', picture('users-phone')));
  await checks.step(`${theme}: the menu leads to the own password; a wrong one is refused`, async () => {
    await page.locator('.user').click();
    await page.getByRole('menuitem', { name: 'Change password' }).click();
    await page.getByRole('heading', { name: 'Change password' }).waitFor();
    await page.getByLabel('Present password').fill('not the present one');
    await page.getByRole('textbox', { name: 'New password' }).fill('river-lamp-seven-oak');
    await page.getByRole('button', { name: 'Change the password' }).click();
    await page.getByText('The present password is wrong.').waitFor();
  });
  await checks.look(page, picture('password'));
}

export async function keySteps(checks, page, { address }, theme, picture) {
  let id;
  await checks.step(`${theme}: an access key is shown once, with the commands for the AWS CLI`, async () => {
    await page.goto(`${address}/access-keys`);
    await page.getByLabel('Role').selectOption('operator');
    await page.getByRole('button', { name: 'Make', exact: true }).click();
    const commands = page.locator('.command pre');
    await commands.nth(2).waitFor();
    const [secret, configure, trial] = await commands.allInnerTexts();
    id = /aws_access_key_id (AKMS\w+)/.exec(configure)[1];
    assert.ok(configure.includes(`aws_secret_access_key ${secret}`));
    assert.ok(trial.includes(`--endpoint-url ${new URL(address).origin} iot`));
  });
  await checks.look(page, picture('access-keys'));
  const row = () => page.locator('table.grid tbody tr', { hasText: id });
  await checks.step(`${theme}: it is deactivated and activated`, async () => {
    await page.getByRole('button', { name: `Deactivate ${id}` }).click();
    await row().getByText('inactive', { exact: true }).waitFor();
    await page.getByRole('button', { name: `Activate ${id}`, exact: true }).click();
    await row().getByText('active', { exact: true }).waitFor();
  });
  await checks.step(`${theme}: access keys on a telephone, and the secret is gone`, async () => {
    await toPhone(checks, page, address, '/access-keys', picture('access-keys-phone'));
    assert.equal(await page.locator('.command').count(), 0);
  });
  await checks.step(`${theme}: it goes`, async () => {
    await page.getByRole('button', { name: `Remove ${id}` }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Remove', exact: true }).click();
    await row().waitFor({ state: 'detached' });
  });
}
