import { expect, test } from 'vitest';
import { toCsv } from './csv';

test('cells are quoted where they must be', () => {
  expect(toCsv([['a', 'b,c', 'say "x"'], ['-71', '=1+1', '']])).toBe('a,"b,c","say ""x"""\r\n-71,\'=1+1,\r\n');
});
