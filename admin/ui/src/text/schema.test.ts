import { expect, test } from 'vitest';
import type { Schema } from '../api/schemas';
import { attributeRows, breakingQuery, emptyAttribute, placeInSchema, schemaOf } from './schema';

const stored: Schema = {
  attributes: {
    watt: { type: 'number', required: true, unit: 'W' },
    city: { type: 'string', enum: ['ulm', 'oslo'], default: 'ulm' },
  },
};

test('a schema becomes rows by name, and is the same again; nothing is left behind', () => {
  const rows = attributeRows(stored);
  expect(rows.map((row) => [row.name, row.type, row.required, row.default, row.allowed, row.unit])).toEqual([
    ['city', 'string', false, 'ulm', 'ulm oslo', ''],
    ['watt', 'number', true, '', '', 'W'],
  ]);
  expect(schemaOf(rows)).toEqual(stored);
  expect(attributeRows({ attributes: {} })).toEqual([]);
  expect(attributeRows({ attributes: { a: {} } })[0]!.type).toBe('string');
});

test('what is written is trimmed, and values are parted by any space', () => {
  const row = { ...emptyAttribute, name: ' city ', allowed: '  ulm   oslo ', default: ' ulm', unit: ' ' };
  expect(schemaOf([row])).toEqual({ attributes: { city: { type: 'string', enum: ['ulm', 'oslo'], default: 'ulm' } } });
});

test('a refusal is placed at the field that it names', () => {
  const rows = ['watt', 'a:b', 'sp ace', 'x'.repeat(129)].map((name) => ({ ...emptyAttribute, name }));
  const place = (message: string) => {
    const { row, field, message: rest } = placeInSchema(message, rows);
    return [row, field, rest];
  };
  expect(place('default of attribute watt: "x" is not a number, such as -1.5')).toEqual(['watt', 'default', '"x" is not a number, such as -1.5']);
  expect(place('enum of attribute a:b: at most 100 values, these are 101')).toEqual(['a:b', 'allowed', 'at most 100 values, these are 101']);
  expect(place('unit of attribute watt: at most 32 characters')).toEqual(['watt', 'unit', 'at most 32 characters']);
  expect(place('type of attribute watt: "int" is none; use string, number, bool, time or geo')[1]).toBe('type');
  expect(place('attribute name: "sp ace" has \' \' at position 2; allowed are a-z A-Z 0-9 _.,@/:#-').slice(0, 2)).toEqual(['sp ace', 'name']);
  expect(place('attribute name: must have 1 to 128 characters, it has 129').slice(0, 2)).toEqual(['x'.repeat(129), 'name']);
  expect(place('attributes: a schema has at most 50, this one has 51')).toEqual([undefined, undefined, 'attributes: a schema has at most 50, this one has 51']);
  expect(place('unit of attribute gone: at most 32 characters')[0]).toBeUndefined();
});

test('things that break a schema are asked for by name while they are few', () => {
  const rows = attributeRows(stored);
  expect(breakingQuery(rows, { violating: 2, examples: [{ thingName: 'a' }, { thingName: 'b:2' }] })).toEqual({ q: 'thingName:(a OR b:2)', exact: true });
  const long = Array.from({ length: 100 }, (_, n) => ({ thingName: `${'n'.repeat(120)}-${n}` }));
  const some = breakingQuery(rows, { violating: 100, examples: long });
  expect(some.exact).toBe(false);
  expect(some.q.length).toBeLessThan(1850);
});

test('many are asked for by rule where the language has a word for each rule', () => {
  const many = { violating: 1000, examples: [{ thingName: 'a' }] };
  const query = (schema: Schema) => breakingQuery(attributeRows(schema), many);
  expect(query({ attributes: { watt: { type: 'number', required: true } } }).q).toBe('(NOT attributes.watt>=0 AND NOT attributes.watt<0)');
  expect(query({ attributes: { floor: { type: 'number' }, site: { required: true }, free: {} } })).toEqual({
    q: '(attributes.floor:* AND NOT attributes.floor>=0 AND NOT attributes.floor<0) OR NOT attributes.site:*',
    exact: true,
  });
  const unsaid: Schema['attributes'][] = [{ on: { type: 'bool' } }, { at: { type: 'time' } }, { city: { enum: ['ulm'] } }, { 'a:b': { required: true } }];
  for (const attributes of unsaid) {
    expect(query({ attributes })).toEqual({ q: 'thingName:(a)', exact: false });
  }
});
