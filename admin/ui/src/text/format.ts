// Numbers, sizes and times as people read them. Pure functions.

const whole = new Intl.NumberFormat('en-US', { maximumFractionDigits: 0 });

/** 97214 -> "97,214". */
export function count(n: number): string {
  return Number.isFinite(n) ? whole.format(n) : '–';
}

/** One thing, two things. */
export function plural(n: number, one: string, many = one + 's'): string {
  return n === 1 ? one : many;
}

/** Per-second figures and the like: three significant digits below a thousand, whole above. */
export function figure(n: number): string {
  if (!Number.isFinite(n)) return '–';
  const size = Math.abs(n);
  if (size === 0) return '0';
  if (size < 0.001) return n.toExponential(1);
  const digits = size >= 100 ? 0 : size >= 10 ? 1 : 2;
  return n.toLocaleString('en-US', { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

/** A measured value, exact up to six significant digits: no digit is invented, none of use is lost. */
export function measured(n: number): string {
  if (Number.isNaN(n)) return 'NaN';
  if (!Number.isFinite(n)) return n > 0 ? '+Inf' : '-Inf';
  const size = Math.abs(n);
  if (size !== 0 && (size < 1e-4 || size >= 1e12)) return n.toExponential(3);
  if (Number.isInteger(n)) return whole.format(n);
  const digits = Math.max(0, Math.min(6, 5 - Math.floor(Math.log10(size))));
  return n.toLocaleString('en-US', { maximumFractionDigits: digits });
}

/** How many decimals the values of one column need, so that they can stand under each other. */
export function decimalsOf(values: number[]): number {
  return values.reduce((most, value) => Math.max(most, measured(value).split('.')[1]?.match(/^\d*/)?.[0].length ?? 0), 0);
}

/** A measured value with so many decimals. */
export function fixed(n: number, decimals: number): string {
  const size = Math.abs(n);
  if (!Number.isFinite(n) || (size !== 0 && (size < 1e-4 || size >= 1e12))) return measured(n);
  return n.toLocaleString('en-US', { minimumFractionDigits: decimals, maximumFractionDigits: decimals });
}

/** Decimal units, as disks are sold: 1,500,000 -> "1.5 MB". */
export function bytes(n: number): string {
  if (!Number.isFinite(n)) return '–';
  const units = ['B', 'kB', 'MB', 'GB', 'TB', 'PB'];
  let value = n;
  let unit = 0;
  while (Math.abs(value) >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit++;
  }
  return `${unit === 0 || value >= 99.95 ? value.toFixed(0) : value.toFixed(1)} ${units[unit]}`;
}

const second = 1000;
const minute = 60 * second;
const hour = 60 * minute;
const day = 24 * hour;

/** The age of a moment, in its largest unit: "3 s", "6 min", "2 h", "3 d". Moments a clock's jitter ahead count as now. */
export function age(atMs: number, nowMs: number): string {
  const ms = Math.max(0, nowMs - atMs);
  if (ms < 1500) return '1 s';
  if (ms < minute) return `${Math.floor(ms / second)} s`;
  if (ms < hour) return `${Math.floor(ms / minute)} min`;
  if (ms < 2 * day) return `${Math.floor(ms / hour)} h`;
  return `${count(Math.floor(ms / day))} d`;
}

/** "6 min ago"; "never" for no moment at all. */
export function ago(atMs: number, nowMs: number): string {
  return atMs > 0 ? `${age(atMs, nowMs)} ago` : 'never';
}

/** A span in its two largest units: "3 d 4 h". */
export function span(seconds: number): string {
  const steps: [number, string][] = [
    [86400, 'd'],
    [3600, 'h'],
    [60, 'min'],
    [1, 's'],
  ];
  const at = steps.findIndex(([size]) => seconds >= size);
  if (at < 0) return '0 s';
  const [size, unit] = steps[at]!;
  const first = `${Math.floor(seconds / size)} ${unit}`;
  const next = steps[at + 1];
  if (!next) return first;
  const rest = Math.floor((seconds % size) / next[0]);
  return rest ? `${first} ${rest} ${next[1]}` : first;
}

/** Whole days from now until a moment; negative when it has passed. */
export function daysUntil(atMs: number, nowMs: number): number {
  return Math.floor((atMs - nowMs) / day);
}

const two = (n: number) => String(n).padStart(2, '0');

/** In the viewer's zone: "2026-11-21 14:02:07". */
export function moment(ms: number): string {
  const at = new Date(ms);
  const date = `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
  return `${date} ${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
}

/** For the hover: the same moment in UTC. */
export function utc(ms: number): string {
  return ms > 0 ? new Date(ms).toISOString().replace('T', ' ').replace('Z', ' UTC') : '';
}

// The units that the names of columns carry by custom, longest suffix first.
const units: [string, string][] = [
  ['celsius', '°C'],
  ['percent', '%'],
  ['seconds', 's'],
  ['meters', 'm'],
  ['volts', 'V'],
  ['watts', 'W'],
  ['bytes', 'B'],
  ['ratio', ''],
  ['kwh', 'kWh'],
  ['kmh', 'km/h'],
  ['lux', 'lx'],
  ['dbm', 'dBm'],
  ['hpa', 'hPa'],
  ['pct', '%'],
  ['deg', '°'],
  ['rpm', 'rpm'],
  ['wh', 'Wh'],
  ['kw', 'kW'],
  ['ma', 'mA'],
  ['mv', 'mV'],
  ['ms', 'ms'],
  ['hz', 'Hz'],
  ['w', 'W'],
  ['v', 'V'],
  ['c', '°C'],
  ['s', 's'],
  ['a', 'A'],
];

/** power_w -> "W"; a name that ends in no known unit -> "". */
export function unitOf(name: string): string {
  const last = name.toLowerCase().split(/[_.]/);
  if (last.length < 2) return '';
  const suffix = last[last.length - 1];
  return units.find(([end]) => end === suffix)?.[1] ?? '';
}
