// What a thing type says of its things: which attributes they have, and what becomes of the telemetry that they send.
import { call } from './client';

export type AttributeType = 'string' | 'number' | 'bool' | 'time' | 'geo';

export interface AttributeRule {
  /** Left out: string. */
  type?: AttributeType;
  required?: boolean;
  /** What a new thing gets that has none. */
  default?: string;
  /** The only values that are allowed; none: any. */
  enum?: string[];
  unit?: string;
}

export interface Schema {
  /** None: the type has no schema. */
  attributes: Record<string, AttributeRule>;
}

export interface StoredSchema extends Schema {
  /** 0 before the first. */
  version: number;
}

/** What a schema would mean for the things that there are. */
export interface SchemaCheck {
  things: number;
  violating: number;
  /** The first hundred. */
  examples: { thingName: string; message: string }[];
}

export interface Column {
  rename?: string;
  drop?: boolean;
  /** The value is multiplied by it, then the offset is added. */
  scale?: number;
  offset?: number;
  /** Of the value that is kept. */
  unit?: string;
  description?: string;
}

export interface Readings {
  /** What becomes of a column that has no rule. */
  unknown: 'keep' | 'drop';
  columns: Record<string, Column>;
}

export interface StoredReadings extends Readings {
  /** 0 before the first. */
  version: number;
  /** 0 before the first. */
  changedMs: number;
}

const schemaPath = (type: string) => `/api/thing-types/${encodeURIComponent(type)}/schema`;
const readingsPath = (type: string) => `/api/thing-types/${encodeURIComponent(type)}/telemetry`;

/** What is put takes the place of the version that was read; if there is another one by now, it is refused as stale. */
const over = (body: object, read: { version: number }) => ({ ...body, expectedVersion: read.version });

export const schema = (type: string, signal?: AbortSignal) => call<StoredSchema>(schemaPath(type), { signal });
export const putSchema = (type: string, body: Schema, read: StoredSchema) =>
  call<StoredSchema>(schemaPath(type), { method: 'PUT', body: over(body, read) });
export const checkSchema = (type: string, body: Schema, signal?: AbortSignal) =>
  call<SchemaCheck>(`${schemaPath(type)}/check`, { method: 'POST', body, signal });

export const readings = (type: string, signal?: AbortSignal) => call<StoredReadings>(readingsPath(type), { signal });
export const putReadings = (type: string, body: Readings, read: StoredReadings) =>
  call<StoredReadings>(readingsPath(type), { method: 'PUT', body: over(body, read) });
