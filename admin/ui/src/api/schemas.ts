// What a thing type says of its things: which attributes they have, and what becomes of the telemetry that they send.
import { call, Refusal } from './client';

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
  attributes: Record<string, AttributeRule>;
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
  version: number;
  changedMs: number;
}

const schemaPath = (type: string) => `/api/thing-types/${encodeURIComponent(type)}/schema`;
const readingsPath = (type: string) => `/api/thing-types/${encodeURIComponent(type)}/telemetry`;

/** null where the type has none: the caller has seen that there is the type. */
async function orNone<T>(path: string, signal?: AbortSignal): Promise<T | null> {
  try {
    return await call<T>(path, { signal });
  } catch (cause) {
    if (cause instanceof Refusal && cause.status === 404) return null;
    throw cause;
  }
}

export const schema = (type: string, signal?: AbortSignal) => orNone<Schema>(schemaPath(type), signal);
export const putSchema = (type: string, body: Schema) => call<Schema>(schemaPath(type), { method: 'PUT', body });
export const removeSchema = (type: string) => call<void>(schemaPath(type), { method: 'DELETE' });
export const checkSchema = (type: string, body: Schema, signal?: AbortSignal) =>
  call<SchemaCheck>(`${schemaPath(type)}/check`, { method: 'POST', body, signal });

export const readings = (type: string, signal?: AbortSignal) => orNone<StoredReadings>(readingsPath(type), signal);
export const putReadings = (type: string, body: Readings) => call<StoredReadings>(readingsPath(type), { method: 'PUT', body });
export const removeReadings = (type: string) => call<void>(readingsPath(type), { method: 'DELETE' });
