// A type's attribute schema as the rows of a table, and back; and where in that table a refusal of the gateway belongs.
import type { AttributeType, Schema } from '../api/schemas';

export interface AttributeRow {
  name: string;
  type: AttributeType;
  required: boolean;
  default: string;
  /** Parted by spaces, which no value has. */
  allowed: string;
  unit: string;
}

export const attributeTypes: AttributeType[] = ['string', 'number', 'bool', 'time', 'geo'];

/** What a value of a type looks like. */
export const example: Record<AttributeType, string> = {
  string: '',
  number: '-1.5',
  bool: 'true',
  time: '2026-01-02T15:04:05Z',
  geo: '48.1,11.5',
};

export const emptyAttribute: AttributeRow = { name: '', type: 'string', required: false, default: '', allowed: '', unit: '' };

export function attributeRows(schema: Schema): AttributeRow[] {
  return Object.entries(schema.attributes)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, rule]) => ({
      name,
      type: rule.type || 'string',
      required: rule.required ?? false,
      default: rule.default ?? '',
      allowed: (rule.enum ?? []).join(' '),
      unit: rule.unit ?? '',
    }));
}

export function schemaOf(rows: AttributeRow[]): Schema {
  const attributes: Schema['attributes'] = {};
  for (const row of rows) {
    const values = row.allowed.split(/\s+/).filter(Boolean);
    attributes[row.name.trim()] = {
      type: row.type,
      ...(row.required && { required: true }),
      ...(row.default.trim() && { default: row.default.trim() }),
      ...(values.length > 0 && { enum: values }),
      ...(row.unit.trim() && { unit: row.unit.trim() }),
    };
  }
  return { attributes };
}

/** A sentence about a field of a row; without a row it is about all of them. */
export interface Placed<F extends string> {
  row?: string;
  field?: F;
  message: string;
}

/** Where a refusal belongs: "default of attribute watt: …" is about the default in the row of watt. */
export function placeInSchema(message: string, rows: AttributeRow[]): Placed<keyof AttributeRow> {
  const wrongName = /^attribute name: /.exec(message);
  if (wrongName) {
    // It names the text that it refuses, unless that is too long.
    const named = rows.find(({ name }) => message.includes(` ${JSON.stringify(name.trim())} has `)) ?? rows.find(({ name }) => name.trim().length > 128);
    return named ? { row: named.name, field: 'name', message: message.slice(wrongName[0].length) } : { message };
  }
  const fields: [string, keyof AttributeRow][] = [
    ['type', 'type'],
    ['default', 'default'],
    ['enum', 'allowed'],
    ['unit', 'unit'],
  ];
  for (const [word, field] of fields) {
    for (const { name } of rows) {
      const start = `${word} of attribute ${name.trim()}: `;
      if (message.startsWith(start)) return { row: name, field, message: message.slice(start.length) };
    }
  }
  return { message };
}

const plainField = /^[\w.-]+$/;
// A link may be pasted anywhere: some programs cut longer ones.
const mostChars = 1800;

/**
 * A fleet query, within the type, for things that break a schema; `exact`: for all of them. Rules that the query language knows are asked for as
 * rules: it has no word for "is a time", and does not tell letters by case. Otherwise the things are named, as many as were and fit.
 */
export function breakingQuery(rows: AttributeRow[], check: { violating: number; examples: { thingName: string }[] }): { q: string; exact: boolean } {
  const byRule = ruleQuery(rows);
  const names: string[] = [];
  for (let length = 0; names.length < check.examples.length; ) {
    const name = check.examples[names.length]!.thingName;
    length += name.length + 4;
    if (length > mostChars) break;
    names.push(name);
  }
  if (names.length < check.violating && byRule) return { q: byRule, exact: true };
  return { q: `thingName:(${names.join(' OR ')})`, exact: names.length === check.violating };
}

function ruleQuery(rows: AttributeRow[]): string | undefined {
  const parts: string[] = [];
  for (const row of rows) {
    const field = `attributes.${row.name.trim()}`;
    const free = row.type === 'string' && !row.allowed.trim();
    if (free && !row.required) continue;
    if (!plainField.test(row.name.trim()) || row.allowed.trim() || (row.type !== 'string' && row.type !== 'number')) return undefined;
    const noNumber = `NOT ${field}>=0 AND NOT ${field}<0`;
    if (free) parts.push(`NOT ${field}:*`);
    else parts.push(row.required ? `(${noNumber})` : `(${field}:* AND ${noNumber})`);
  }
  const query = parts.join(' OR ');
  return query && query.length <= mostChars ? query : undefined;
}
