// The UI in a real browser, against a running gateway or the stand-in.
//
//   npm run e2e                                              the stand-in: empty, 200 and 5,000 things
//   npm run e2e -- --base-url https://127.0.0.1:8443 --code CODE    a gateway; CODE is its one-time login or setup code
//   --shots DIR                                              keeps a picture of every screen in both themes
//
// Besides what each step checks, a run fails on any console error, page error, violation of the content policy, request to
// another host, or finding of axe (WCAG 2.0 to 2.2, A and AA).
import { parseArgs } from 'node:util';
import { startMock } from './mock/server.mjs';
import { Checks, openBrowser } from './browser.mjs';
import { emptyGateway, firstSetup, troubles, wholeTour } from './tour.mjs';

const { values } = parseArgs({
  options: { 'base-url': { type: 'string' }, code: { type: 'string' }, shots: { type: 'string' }, chromium: { type: 'string' } },
});

const browser = await openBrowser(values.chromium);
const checks = new Checks(values.shots);
try {
  if (values['base-url']) {
    await wholeTour(browser, checks, { address: values['base-url'].replace(/\/$/, ''), code: values.code, name: 'gateway', real: true });
  } else {
    for (const [name, options, tour] of [
      ['setup', { things: 0, setup: true }, firstSetup],
      ['empty', { things: 0 }, emptyGateway],
      ['trouble', { things: 20 }, troubles],
      ['200', { things: 200 }, wholeTour],
      ['5000', { things: 5000 }, wholeTour],
    ]) {
      const mock = await startMock(options);
      try {
        await tour(browser, checks, { ...mock, name });
      } finally {
        await mock.stop();
      }
    }
  }
} finally {
  await browser.close();
}
console.log(`\n${checks.passed} passed, ${checks.failed} failed`);
process.exit(checks.failed ? 1 : 0);
