// A type's telemetry schema as the rows of a table, and back; and where in that table a refusal of the gateway belongs.
import type { Readings } from '../api/schemas';
import type { Placed } from './schema';

export interface ColumnRow {
  /** As devices send it. */
  name: string;
  rename: string;
  drop: boolean;
  /** A number as it is written; empty: 1. */
  scale: string;
  /** Empty: 0. */
  offset: string;
  unit: string;
  description: string;
}

export const emptyColumn: ColumnRow = { name: '', rename: '', drop: false, scale: '', offset: '', unit: '', description: '' };

export function columnRows(readings: Readings): ColumnRow[] {
  return Object.entries(readings.columns)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, column]) => ({
      name,
      rename: column.rename ?? '',
      drop: column.drop ?? false,
      scale: column.scale === undefined ? '' : String(column.scale),
      offset: column.offset === undefined ? '' : String(column.offset),
      unit: column.unit ?? '',
      description: column.description ?? '',
    }));
}

export function readingsOf(rows: ColumnRow[], unknown: Readings['unknown']): Readings {
  const columns: Readings['columns'] = {};
  for (const row of rows) {
    const described = row.description.trim() && { description: row.description.trim() };
    columns[row.name.trim()] = row.drop
      ? { drop: true, ...described }
      : {
          ...(row.rename.trim() && { rename: row.rename.trim() }),
          ...(row.scale.trim() && { scale: Number(row.scale) }),
          ...(row.offset.trim() && { offset: Number(row.offset) }),
          ...(row.unit.trim() && { unit: row.unit.trim() }),
          ...described,
        };
  }
  return { unknown, columns };
}

const number = /^-?\d+(\.\d+)?([eE][-+]?\d+)?$/;

/** What is wrong with a scale or an offset before anybody is asked; a number is what JSON takes for one. */
export function factorProblem(text: string): string | undefined {
  const trimmed = text.trim();
  return trimmed === '' || (number.test(trimmed) && Number.isFinite(Number(trimmed))) ? undefined : 'a number, such as 0.1';
}

/** Where a refusal belongs: `column "temp": unit must …` is about the unit in the row of temp. */
export function placeInReadings(message: string, rows: ColumnRow[]): Placed<keyof ColumnRow> {
  const row = rows.find(({ name }) => message.startsWith(`column ${JSON.stringify(name.trim())}`))?.name;
  if (row === undefined) return { message };
  const said = message.slice(`column ${JSON.stringify(row.trim())}`.length).replace(/^:? /, '');
  const fields: [RegExp, keyof ColumnRow][] = [
    [/^the name /, 'name'],
    [/^rename /, 'rename'],
    [/^two columns become /, 'rename'],
    [/^scale/, 'scale'],
    [/^offset/, 'offset'],
    [/^unit /, 'unit'],
    [/^description /, 'description'],
  ];
  return { row, field: fields.find(([words]) => words.test(said))?.[1] ?? 'name', message: said };
}

/** The units that a document gives to the columns that are kept. */
export function keptUnits(readings: Readings): Map<string, string> {
  const units = new Map<string, string>();
  for (const [name, { rename, drop, unit }] of Object.entries(readings.columns)) if (!drop && unit) units.set(rename || name, unit);
  return units;
}
