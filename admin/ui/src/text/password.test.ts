import { expect, test } from 'vitest';
import { passwordRules } from './password';

const met = (password: string, username = 'ana') => passwordRules(password, username).map((rule) => rule.met);

test('password rules', () => {
  expect(met('')).toEqual([false, false, false]);
  expect(met('short')).toEqual([false, true, true]);
  expect(met('aaaaaaaaaaaaaaa')).toEqual([true, false, true]);
  expect(met('123456789012345')).toEqual([true, false, true]);
  expect(met('river-lamp-seven-oak')).toEqual([true, true, true]);
  // digits around the name do not make it a password
  expect(met('Anastasia-1234', 'anastasia')[2]).toBe(false);
  // characters are counted, not bytes
  expect(met('ääääöööößüü')[0]).toBe(false);
});
