// PromQL text: selectors for metric and label names of any spelling.

const legacyMetric = /^[a-zA-Z_:][a-zA-Z0-9_:]*$/;

function quoted(text: string): string {
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
