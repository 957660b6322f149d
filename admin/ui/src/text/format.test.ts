import { expect, test } from 'vitest';
import { age, ago, bytes, count, daysUntil, decimalsOf, figure, fixed, measured, span, unitOf } from './format';

test('counts are grouped', () => {
  expect(count(97214)).toBe('97,214');
  expect(count(Number.NaN)).toBe('–');
});

test('figures keep three significant digits', () => {
  expect([0, 0.52, 18.44, 999.4, 18402].map(figure)).toEqual(['0', '0.52', '18.4', '999', '18,402']);
  expect(figure(0.0004)).toBe('4.0e-4');
});

test('measured values are neither padded nor cut', () => {
  expect([41.2, -71, 0.001234567, 1234.5678, 0.1 + 0.2].map(measured)).toEqual(['41.2', '-71', '0.001235', '1,234.57', '0.3']);
  expect([Number.NaN, Infinity, -Infinity, 1e15].map(measured)).toEqual(['NaN', '+Inf', '-Inf', '1.000e+15']);
});

test('a column has as many decimals as its most exact value', () => {
  expect(decimalsOf([35, 34.1, 34.25])).toBe(2);
  expect(decimalsOf([1, 2])).toBe(0);
  expect(decimalsOf([])).toBe(0);
  expect([35, 34.1, 1e15, Number.NaN].map((n) => fixed(n, 2))).toEqual(['35.00', '34.10', '1.000e+15', 'NaN']);
});

test('sizes', () => {
  expect([0, 999, 1000, 1_500_000, 99_950_000, 2_147_483_648].map(bytes)).toEqual(['0 B', '999 B', '1.0 kB', '1.5 MB', '100 MB', '2.1 GB']);
  // rounding never shows four digits
  expect(bytes(999_999)).toBe('1.0 MB');
});

test('ages', () => {
  const now = 1_800_000_000_000;
  const f = (ms: number, want: string) => expect(age(now - ms, now)).toBe(want);
  f(0, '1 s');
  f(59_999, '59 s');
  f(60_000, '1 min');
  f(3_599_999, '59 min');
  f(47 * 3_600_000, '47 h');
  f(49 * 3_600_000, '2 d');
  // a device whose clock runs ahead is not from the future
  f(-5000, '1 s');
  expect(ago(0, now)).toBe('never');
  expect(ago(now - 6 * 60_000, now)).toBe('6 min ago');
});

test('spans', () => {
  expect([0, 59, 60, 3661, 90_000].map(span)).toEqual(['0 s', '59 s', '1 min', '1 h 1 min', '1 d 1 h']);
});

test('days until', () => {
  expect(daysUntil(10 * 86_400_000, 0)).toBe(10);
  expect(daysUntil(0, 1)).toBe(-1);
});

test('units by custom', () => {
  expect(['power_w', 'rssi_dbm', 'temp_c', 'brightness', 'w', 'door.temp_celsius', 'new'].map(unitOf)).toEqual(['W', 'dBm', '°C', '', '', '°C', '']);
});
