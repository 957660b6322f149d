import { expect, test } from 'vitest';
import { allowLines, cleanHash, isHash } from './allowlist';

const hash = '5f'.repeat(32);

test('hashes as people paste them', () => {
  expect(cleanHash(` SHA256:${hash.toUpperCase()} `)).toBe(hash);
  expect(cleanHash('5F:'.repeat(31) + '5f')).toBe(hash);
  expect(isHash(hash)).toBe(true);
  expect(isHash(hash.slice(2))).toBe(false);
});

test('lines as the agent prints them', () => {
  const row = { thingName: 'lamp-1', spkiSha256: hash, thingTypeName: 'street-light' };
  expect(allowLines(`thingName,spkiSha256,thingTypeName\nlamp-1,${hash},street-light\n`)?.rows).toEqual([row]);
  expect(allowLines(`lamp-1,${hash},`)?.rows).toEqual([{ ...row, thingTypeName: '' }]);
  const two = allowLines(`lamp-1,${hash},street-light\r\nlamp-2,${hash},\r\n`);
  expect(two?.csv).toBe(`thingName,spkiSha256,thingTypeName\nlamp-1,${hash},street-light\nlamp-2,${hash},\n`);
});

test('anything else is left to the field it is pasted into', () => {
  for (const text of ['', 'lamp-1', hash, `lamp-1,${hash.slice(1)},`, 'a,b,c,d', `lamp-1,${hash},x,y`]) expect(allowLines(text)).toBeUndefined();
});
