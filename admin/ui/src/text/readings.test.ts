import { expect, test } from 'vitest';
import type { Readings } from '../api/schemas';
import { columnRows, emptyColumn, factorProblem, keptUnits, placeInReadings, readingsOf } from './readings';

const stored: Readings = {
  unknown: 'drop',
  columns: {
    t: { rename: 'temp_c', scale: 0.1, offset: -40, unit: '°C', description: 'at the mast' },
    noise: { drop: true, description: 'of no use' },
    power_w: { unit: 'W' },
  },
};

test('a document becomes rows by name, and is the same again', () => {
  const rows = columnRows(stored);
  expect(rows.map((row) => row.name)).toEqual(['noise', 'power_w', 't']);
  expect(readingsOf(rows, 'drop')).toEqual(stored);
  expect(columnRows({ unknown: 'keep', columns: {} })).toEqual([]);
});

test('a column that is dropped has nothing else; a scale of 0 is said, not left out', () => {
  const row = { ...emptyColumn, name: 'a', rename: 'b', scale: '2', unit: 'W' };
  expect(readingsOf([{ ...row, drop: true }], 'keep').columns).toEqual({ a: { drop: true } });
  expect(readingsOf([{ ...row, scale: '0' }], 'keep').columns.a!.scale).toBe(0);
});

test('a factor is a number as JSON has it', () => {
  for (const good of ['', ' 0.1 ', '-40', '1e-3', '2E3']) expect(factorProblem(good)).toBeUndefined();
  for (const wrong of ['x', '0,1', '.5', '1.', '0x10', '1e999', '--1']) expect(factorProblem(wrong)).toBe('a number, such as 0.1');
});

test('a refusal is placed at the field that it names', () => {
  const rows = ['t', '2nd', 'say "x"'].map((name) => ({ ...emptyColumn, name }));
  const place = (message: string) => {
    const { row, field } = placeInReadings(message, rows);
    return [row, field];
  };
  expect(place('column "t": rename must have 1 to 128 characters')).toEqual(['t', 'rename']);
  expect(place('column "t": unit must be text of at most 64 bytes')).toEqual(['t', 'unit']);
  expect(place('column "t": scale must not be 0')).toEqual(['t', 'scale']);
  expect(place('column "t": offset: more than 19 digits')).toEqual(['t', 'offset']);
  expect(place('column "t": description must be text of at most 256 characters')).toEqual(['t', 'description']);
  expect(place('column "2nd": the name must be written as PromQL shows it')).toEqual(['2nd', 'name']);
  expect(place('column "say \\"x\\"": the name must be written')).toEqual(['say "x"', 'name']);
  expect(place('column "t": two columns become "temp_c", with the units "C" and "K"')).toEqual(['t', 'rename']);
  expect(place('column "t" has two rules')).toEqual(['t', 'name']);
  expect(placeInReadings('there are 300 columns: at most 256 are allowed', rows)).toEqual({ message: 'there are 300 columns: at most 256 are allowed' });
});

test('units are those of the columns that are kept, under the names that they are kept under', () => {
  expect([...keptUnits(stored)]).toEqual([
    ['temp_c', '°C'],
    ['power_w', 'W'],
  ]);
  expect(keptUnits({ unknown: 'keep', columns: {} }).size).toBe(0);
});
