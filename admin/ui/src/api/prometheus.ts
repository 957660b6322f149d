// The gateway's Prometheus interface, as Explore uses it: queries of any result, and the names that there are.
import { call } from './client';
import type { PromSeries } from './contract';

/** The answer to a query, as its type says. */
export type Result =
  | { resultType: 'vector'; result: { metric: Record<string, string>; value: [number, string] }[] }
  | { resultType: 'matrix'; result: PromSeries[] }
  | { resultType: 'scalar' | 'string'; result: [number, string] };

export type Answer<R> = R & {
  /** What the engine wants to be known: a result cut short, a rate of a gauge. */
  warnings: string[];
  tookMs: number;
};

async function ask<R>(resource: string, form: Record<string, string | number>, signal?: AbortSignal): Promise<Answer<R>> {
  const began = performance.now();
  const body = new URLSearchParams(Object.entries(form).map(([name, value]) => [name, String(value)])).toString();
  const contentType = 'application/x-www-form-urlencoded';
  const answer = await call<{ data: R; warnings?: string[]; infos?: string[] }>(`/prometheus/api/v1/${resource}`, { method: 'POST', body, contentType, signal });
  return { ...answer.data, warnings: [...(answer.warnings ?? []), ...(answer.infos ?? [])], tookMs: performance.now() - began };
}

/** The value of an expression at a time, Unix seconds. */
export const instant = (query: string, time: number, signal?: AbortSignal) => ask<Result>('query', { query, time }, signal);

/** Its values over a span, one per step, whole seconds. */
export const range = (query: string, span: { start: number; end: number; step: number }, signal?: AbortSignal) =>
  ask<{ resultType: 'matrix'; result: PromSeries[] }>('query_range', { query, ...span }, signal);

async function names(resource: string, limit: number, match: string, signal?: AbortSignal): Promise<string[]> {
  const query = new URLSearchParams({ limit: String(limit) });
  if (match) query.set('match[]', match);
  return (await call<{ data: string[] }>(`/prometheus/api/v1/${resource}?${query}`, { signal })).data;
}

// A fleet has few kinds of readings and very many things: all names are asked for at once, values by what is written already.
export const metricNames = (signal?: AbortSignal) => names('label/__name__/values', 5000, '', signal);
export const labelNames = (match: string, signal?: AbortSignal) => names('labels', 500, match, signal);
export const labelValues = (label: string, match: string, signal?: AbortSignal) => names(`label/${encodeURIComponent(label)}/values`, 50, match, signal);

/** The units that thing types give to each metric, none for most. */
export const metricUnits = (signal?: AbortSignal) =>
  call<{ data: Record<string, { unit: string }[]> }>('/prometheus/api/v1/metadata', { signal }).then(
    ({ data }) => new Map(Object.entries(data).map(([metric, entries]) => [metric, entries.map(({ unit }) => unit).filter(Boolean)])),
  );
