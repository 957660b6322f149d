// Explore against a real gateway: what is offered, drawn, listed, refused and shared.
import assert from 'node:assert/strict';

/** How many pixels of a canvas are not transparent. */
const drawnPixels = (canvas) =>
  canvas.evaluate((element) => {
    const { data } = element.getContext('2d').getImageData(0, 0, element.width, element.height);
    let drawn = 0;
    for (let at = 3; at < data.length; at += 4) if (data[at]) drawn++;
    return drawn;
  });

export async function exploreSteps(checks, page, { address }, theme, picture) {
  const field = page.getByLabel('PromQL expression');
  const options = page.getByRole('option');
  const canvas = page.locator('.explore-chart canvas');
  const query = () => new URL(page.url()).searchParams.get('q');
  await checks.step(`${theme}: Explore begins with the metrics that there are`, async () => {
    await page.goto(`${address}/explore`);
    await page.locator('.explore-metrics').getByRole('button', { name: 'power_w', exact: true }).waitFor();
  });
  await checks.look(page, picture('explore-metrics'));
  await checks.step(`${theme}: metrics, labels and values are offered, and none is taken by itself`, async () => {
    await field.fill('sum by (city) (power');
    await field.press('End');
    await options.filter({ hasText: 'power_w' }).first().waitFor();
    await page.keyboard.press('ArrowDown');
    await page.keyboard.press('Tab');
    assert.equal(await field.inputValue(), 'sum by (city) (power_w');
    await page.keyboard.type('{ci');
    await options.filter({ hasText: 'city' }).first().waitFor();
    await page.keyboard.press('ArrowDown');
    await page.keyboard.press('Enter');
    assert.equal(await field.inputValue(), 'sum by (city) (power_w{city="');
    await options.first().waitFor();
  });
  await checks.look(page, picture('explore-offers'));
  await checks.step(`${theme}: an expression is drawn, one line for each series`, async () => {
    await page.keyboard.press('ArrowDown');
    const city = await options.first().locator('.mono').innerText();
    await page.keyboard.press('Enter');
    await page.keyboard.type(`"})`);
    assert.equal(await field.inputValue(), `sum by (city) (power_w{city="${city}"})`);
    await page.keyboard.press('Escape');
    await page.keyboard.press('Enter');
    await page.getByText('1 series').waitFor();
    await field.fill('avg by (city) (power_w)');
    await field.press('Escape');
    await field.press('Enter');
    await page.waitForURL(() => query() === 'avg by (city) (power_w)');
    await page.getByText(/[2-9] series/).waitFor();
    await canvas.waitFor();
    const end = Date.now() + 6000;
    while ((await drawnPixels(canvas)) < 500) assert.ok(Date.now() < end, 'nothing is drawn');
  });
  await checks.look(page, picture('explore'));
  await checks.step(`${theme}: a series can be seen alone`, async () => {
    const row = page.locator('.explore-table tbody tr');
    await row.first().getByRole('button').click();
    assert.equal(await page.locator('.explore-table tr[data-faded="true"]').count(), (await row.count()) - 1);
    await row.first().getByRole('button').click();
  });
  await checks.step(`${theme}: brushing zooms, the address keeps it, and the range leads back`, async () => {
    const box = await canvas.boundingBox();
    await page.mouse.move(box.x + box.width * 0.6, box.y + 100);
    await page.mouse.down();
    await page.mouse.move(box.x + box.width * 0.9, box.y + 120, { steps: 5 });
    await page.mouse.up();
    await page.waitForURL((url) => Number(url.searchParams.get('to')) > Number(url.searchParams.get('from')));
    await page.locator('.explore-head').getByText('15m', { exact: true }).click();
    await page.waitForURL((url) => url.searchParams.get('range') === '15m' && !url.searchParams.has('to'));
  });
  await checks.step(`${theme}: a link has the times that are seen`, async () => {
    await page.evaluate(() => {
      navigator.clipboard.writeText = async (text) => void (globalThis.copied = text);
    });
    await page.getByRole('button', { name: 'Copy a link to exactly this' }).click();
    const shared = new URL(await page.evaluate(() => globalThis.copied));
    assert.equal(shared.pathname, '/explore');
    assert.equal(Number(shared.searchParams.get('to')) - Number(shared.searchParams.get('from')), 900);
    assert.equal(shared.searchParams.get('q'), 'avg by (city) (power_w)');
  });
  await checks.step(`${theme}: the same as a table of one time`, async () => {
    await page.getByRole('button', { name: 'Show as table' }).click();
    await page.waitForURL((url) => url.searchParams.get('as') === 'table');
    await page.getByRole('columnheader', { name: 'city' }).waitFor();
    assert.ok((await page.locator('.explore-table tbody tr').count()) > 1);
    await field.fill('1 + 1');
    await field.press('Enter');
    await page.locator('.explore-table td', { hasText: /^2$/ }).waitFor();
  });
  await checks.look(page, picture('explore-table'));
  await checks.step(`${theme}: a mistake is marked where it is`, async () => {
    await page.goto(`${address}/explore?q=${encodeURIComponent('avg(power_w')}`);
    await page.locator('.query-problem mark').waitFor();
    await page.getByText('Unclosed left parenthesis.').waitFor();
  });
  await checks.look(page, picture('explore-mistake'));
  await checks.step(`${theme}: on a telephone it fits the width`, async () => {
    const { width, height } = page.viewportSize();
    await page.setViewportSize({ width: 390, height: 844 });
    try {
      await page.goto(`${address}/explore?q=${encodeURIComponent('avg by (city) (power_w)')}&range=15m`);
      await canvas.waitFor();
      assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), 'the page scrolls sideways');
      await checks.accessible(page, picture('explore-phone'));
      await checks.shot(page, picture('explore-phone'));
    } finally {
      await page.setViewportSize({ width, height });
    }
  });
}
