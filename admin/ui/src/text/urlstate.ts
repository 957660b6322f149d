// What a screen shows is in its URL: reading and writing that state. Unknown or broken values mean the default, never an error,
// and defaults are left out, so that links stay short and old links keep working.

export type FleetState = '' | 'connected' | 'offline' | 'never';
export type FleetSort = 'name' | 'lastSeen';

export interface FleetView {
  q: string;
  state: FleetState;
  type: string;
  sort: FleetSort;
  /** Attribute columns chosen by hand; undefined: the commonest. */
  columns: string[] | undefined;
}

export const maxColumns = 3;

export function readFleet(params: URLSearchParams): FleetView {
  const state = params.get('state') ?? '';
  const columns = params.get('cols');
  return {
    q: params.get('q') ?? '',
    state: state === 'connected' || state === 'offline' || state === 'never' ? state : '',
    type: params.get('type') ?? '',
    sort: params.get('sort') === 'lastSeen' ? 'lastSeen' : 'name',
    columns: columns === null ? undefined : columns.split(',').filter(Boolean).slice(0, maxColumns),
  };
}

export function writeFleet(view: Partial<FleetView>): URLSearchParams {
  const params = new URLSearchParams();
  if (view.q) params.set('q', view.q);
  if (view.state) params.set('state', view.state);
  if (view.type) params.set('type', view.type);
  if (view.sort && view.sort !== 'name') params.set('sort', view.sort);
  if (view.columns) params.set('cols', view.columns.join(','));
  return params;
}

/** The name in a part of an address. The router leaves encoded what has a meaning in addresses, such as a colon or a plus. */
export function nameIn(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part; // written by hand
  }
}

/** The address of the fleet list that shows exactly these. */
export function fleetLink(view: Partial<FleetView>): string {
  const params = writeFleet(view).toString();
  return params ? `/fleet?${params}` : '/fleet';
}

export const ranges = ['15m', '1h', '6h', '24h'] as const;
export type Range = (typeof ranges)[number];
export const rangeSeconds: Record<Range, number> = { '15m': 900, '1h': 3600, '6h': 21600, '24h': 86400 };

export interface DeviceView {
  metric: string;
  range: Range;
  /** A brushed part of the time line; undefined: the last `range` until now. */
  zoom: Zoom | undefined;
  asTable: boolean;
}

/** Unix seconds. */
export interface Zoom {
  from: number;
  to: number;
}

function readZoom(params: URLSearchParams): Zoom | undefined {
  const from = Number(params.get('from'));
  const to = Number(params.get('to'));
  return Number.isSafeInteger(from) && Number.isSafeInteger(to) && from > 0 && to > from ? { from, to } : undefined;
}

function writeZoom(params: URLSearchParams, zoom: Zoom | undefined) {
  if (!zoom) return;
  params.set('from', String(zoom.from));
  params.set('to', String(zoom.to));
}

export function readDevice(params: URLSearchParams): DeviceView {
  const range = params.get('range') as Range;
  return {
    metric: params.get('metric') ?? '',
    range: ranges.includes(range) ? range : '1h',
    zoom: readZoom(params),
    asTable: params.get('as') === 'table',
  };
}

export function writeDevice(view: DeviceView): URLSearchParams {
  const params = new URLSearchParams();
  if (view.metric) params.set('metric', view.metric);
  if (view.range !== '1h') params.set('range', view.range);
  writeZoom(params, view.zoom);
  if (view.asTable) params.set('as', 'table');
  return params;
}

/** What Explore shows: an expression over a span. */
export interface ExploreView {
  q: string;
  range: LongRange;
  /** A part of the time line, Unix seconds; undefined: the last `range` until now. */
  zoom: Zoom | undefined;
  asTable: boolean;
}

export const longRanges = [...ranges, '7d', '30d'] as const;
export type LongRange = (typeof longRanges)[number];
export const longRangeSeconds: Record<LongRange, number> = { ...rangeSeconds, '7d': 7 * 86400, '30d': 30 * 86400 };

export function readExplore(params: URLSearchParams): ExploreView {
  const range = params.get('range') as LongRange;
  return { q: params.get('q') ?? '', range: longRanges.includes(range) ? range : '1h', zoom: readZoom(params), asTable: params.get('as') === 'table' };
}

export function writeExplore(view: Partial<ExploreView>): URLSearchParams {
  const params = new URLSearchParams();
  if (view.q) params.set('q', view.q);
  if (view.range && view.range !== '1h') params.set('range', view.range);
  writeZoom(params, view.zoom);
  if (view.asTable) params.set('as', 'table');
  return params;
}

/** The address of Explore with exactly these. */
export const exploreLink = (view: Partial<ExploreView>) => `/explore?${writeExplore(view)}`;

/** The step, whole seconds, that gives at most `points` over a span, and the span's ends on that raster. */
export function raster(from: number, to: number, points: number): { start: number; end: number; step: number } {
  const steps = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600, 86400];
  const wanted = (to - from) / points;
  const step = steps.find((candidate) => candidate >= wanted) ?? Math.ceil(wanted / 86400) * 86400;
  return { start: Math.floor(from / step) * step, end: Math.ceil(to / step) * step, step };
}

/** Where to go after signing in: a path of our own only, so that a crafted link leads nowhere else. */
export function safeTarget(target: string | null): string {
  if (!target || !target.startsWith('/') || target.startsWith('//') || target.includes('\\')) return '/';
  return /^\/(login|setup)\b/.test(target) ? '/' : target;
}

/** The one-time code of `#code=...`. */
export function codeOf(fragment: string): string {
  return new URLSearchParams(fragment.replace(/^#/, '')).get('code') ?? '';
}
