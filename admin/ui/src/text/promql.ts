// PromQL text: selectors for metric and label names of any spelling, what may stand at a caret, and where a mistake is.

const legacyMetric = /^[a-zA-Z_:][a-zA-Z0-9_:]*$/;

export function quoted(text: string): string {
  return `"${text.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n')}"`;
}

/** power_w of one thing. Names outside of Prometheus' old alphabet are quoted inside the braces, as Prometheus 3 says. */
export function ofThing(metric: string, thing: string): string {
  const matcher = `thing=${quoted(thing)}`;
  return legacyMetric.test(metric) ? `${metric}{${matcher}}` : `{${quoted(metric)}, ${matcher}}`;
}

/** Every numeric column of one thing; texts, which PromQL shows as <name>_info, are left out. */
export function allOfThing(thing: string): string {
  return `{thing=${quoted(thing)}, __name__!~".+_info"}`;
}

/** Everything that the things of a type sent. */
export function ofType(type: string): string {
  return `{thing_type=${quoted(type)}}`;
}

/** A metric of any spelling, as a selector of all its series. */
export function ofMetric(metric: string): string {
  return legacyMetric.test(metric) ? metric : `{${quoted(metric)}}`;
}

/** What is being written at a caret: the UTF-16 units from..to, with `word` in front of the caret. */
export interface Place {
  kind: 'metric' | 'label' | 'value';
  from: number;
  to: number;
  word: string;
  /** The metric in front of the braces; empty: none, or the caret is in no braces. */
  metric: string;
  /** Of a value. */
  label: string;
}

/** Where the caret is, if names or values can be offered there. */
export function placeAt(text: string, caret: number): Place | undefined {
  let braces: { metric: string } | undefined;
  let label = '';
  const parens: boolean[] = []; // whether labels are listed in them, as after by
  let quote = '';
  let quoteAt = 0;
  let range = false;
  for (let at = 0; at < caret; at++) {
    const char = text[at]!;
    if (quote) {
      if (char === '\\' && quote !== '`') at++;
      else if (char === quote) quote = '';
      continue;
    }
    const before = text.slice(0, at);
    if (char === '#') {
      const end = text.indexOf('\n', at);
      if (end < 0 || end >= caret) return undefined;
      at = end;
    } else if (char === '"' || char === "'" || char === '`') {
      quote = char;
      quoteAt = at + 1;
      label = braces ? (/([a-zA-Z_][a-zA-Z0-9_]*)\s*(?:=~|!~|!=|=)\s*$/.exec(before)?.[1] ?? '') : '';
    } else if (char === '{') braces = { metric: /([a-zA-Z_:][a-zA-Z0-9_:]*)\s*$/.exec(before)?.[1] ?? '' };
    else if (char === '}') braces = undefined;
    else if (char === '(') parens.push(/\b(by|without|on|ignoring|group_left|group_right)\s*$/.test(before));
    else if (char === ')') parens.pop();
    else if (char === '[') range = true;
    else if (char === ']') range = false;
  }
  if (quote) {
    if (!label) return undefined;
    const rest = text.slice(caret).search(/["'`,}]/);
    return { kind: 'value', from: quoteAt, to: rest < 0 ? text.length : caret + rest, word: text.slice(quoteAt, caret), metric: braces?.metric ?? '', label };
  }
  if (range) return undefined;
  const word = /[a-zA-Z_:][a-zA-Z0-9_:]*$/.exec(text.slice(0, caret))?.[0] ?? '';
  const from = caret - word.length;
  const to = caret + (/^[a-zA-Z0-9_:]*/.exec(text.slice(caret))?.[0].length ?? 0);
  const left = text.slice(0, from);
  if (braces) return /[{,]\s*$/.test(left) ? { kind: 'label', from, to, word, metric: braces.metric, label: '' } : undefined;
  if (parens.at(-1)) return { kind: 'label', from, to, word, metric: '', label: '' };
  // A number, a duration or the end of a selector is followed by no name.
  if (/[0-9.}\]"'`]\s*$/.test(left) || (word === '' && text.trim() !== '')) return undefined;
  return { kind: 'metric', from, to, word, metric: '', label: '' };
}

/** What PromQL has besides metrics, in the order in which it is of use. */
export const functions = [
  ...['sum', 'avg', 'min', 'max', 'count', 'topk', 'bottomk', 'quantile', 'stddev', 'stdvar', 'group', 'count_values'],
  ...['rate', 'increase', 'delta', 'deriv', 'irate', 'idelta', 'changes', 'resets', 'predict_linear'],
  ...['avg_over_time', 'min_over_time', 'max_over_time', 'sum_over_time', 'count_over_time', 'quantile_over_time', 'stddev_over_time', 'last_over_time', 'present_over_time'],
  ...['abs', 'ceil', 'floor', 'round', 'clamp', 'clamp_min', 'clamp_max', 'sqrt', 'exp', 'ln', 'log2', 'log10', 'sgn'],
  ...['absent', 'absent_over_time', 'histogram_quantile', 'label_replace', 'label_join', 'scalar', 'vector', 'sort', 'sort_desc', 'time', 'timestamp'],
  ...['hour', 'minute', 'month', 'year', 'day_of_week', 'day_of_month', 'days_in_month'],
];

/** What may be put at a place of a metric or a label: first what begins with the word, then what has it in it. */
export function offers(names: readonly string[], word: string, most: number): string[] {
  const wanted = word.toLowerCase();
  const begins: string[] = [];
  const has: string[] = [];
  for (const name of names) {
    const at = name.toLowerCase().indexOf(wanted);
    if (at === 0) begins.push(name);
    else if (at > 0) has.push(name);
  }
  return [...begins, ...has].slice(0, most);
}

/** A selector of the series that have a label beginning with the word. */
export function matchOf({ metric, label, word }: Pick<Place, 'metric' | 'label' | 'word'>): string {
  return `${metric}{${label}=~${quoted(word.replace(/[.*+?^${}()|[\]\\]/g, '\\$&') + '.*')}}`;
}

/** Where the engine found a mistake, in characters from 0, and what it says: "1:7: parse error: unexpected ...". Its columns are bytes. */
export function mistakeIn(query: string, message: string): { at: number; message: string } | undefined {
  const found = /(\d+):(\d+): parse error: ([\s\S]*)$/.exec(message);
  if (!found) return undefined;
  const lines = query.split('\n');
  const line = Math.min(Number(found[1]), lines.length) - 1;
  const before = new TextEncoder().encode(lines[line]).slice(0, Number(found[2]) - 1);
  const column = [...new TextDecoder().decode(before)].length;
  const above = lines.slice(0, line).reduce((sum, text) => sum + [...text].length + 1, 0);
  return { at: above + column, message: found[3]! };
}

/** The labels in which series differ, __name__ among them, by how they are sorted. */
export function differing(series: Record<string, string>[]): string[] {
  const values = new Map<string, Set<string>>();
  for (const labels of series) for (const name in labels) if (!values.has(name)) values.set(name, new Set());
  for (const labels of series) for (const [name, seen] of values) seen.add(labels[name] ?? '');
  return [...values].filter(([, seen]) => seen.size > 1).map(([name]) => name).sort();
}

/** A series by the labels that are named: power_w{city="ulm"}. */
export function seriesName(labels: Record<string, string>, shown: string[]): string {
  const { __name__: metric, ...rest } = labels;
  const pairs = Object.keys(rest).filter((name) => shown.includes(name)).sort().map((name) => `${name}=${quoted(rest[name]!)}`);
  const name = shown.includes('__name__') && metric ? metric : '';
  return pairs.length > 0 ? `${name}{${pairs.join(', ')}}` : name || metric || '{}';
}
