// Samples as charts want them: times in Unix seconds, ascending, and a null wherever the line must break.
import type { PromSeries } from '../api/contract';

export interface Line {
  times: number[];
  values: (number | null)[];
}

/**
 * For each time but the first, whether the device paused before it: the step is far longer than both steps beside it.
 * A device that changed its rate for good has not paused.
 */
export function pauses(times: number[]): boolean[] {
  const step = (index: number) => (index >= 1 && index < times.length ? times[index]! - times[index - 1]! : 0);
  return times.map((_, index) => index > 0 && times.length > 3 && step(index) > 4 * Math.max(step(index - 1), step(index + 1), 1));
}

const finite = (text: string) => {
  const value = Number(text);
  return Number.isFinite(value) ? value : null;
};

/** Samples at their own times, with a null in the middle of each pause. */
export function asRecorded(samples: [number, string][]): Line {
  const line: Line = { times: [], values: [] };
  const breaks = pauses(samples.map(([at]) => at));
  samples.forEach(([at, value], index) => {
    if (breaks[index]) {
      line.times.push((samples[index - 1]![0] + at) / 2);
      line.values.push(null);
    }
    line.times.push(at);
    line.values.push(finite(value));
  });
  return line;
}

/** Samples of a range query on its raster, with null where it has none. */
export function onRaster(samples: [number, string][], { start, end, step }: { start: number; end: number; step: number }): Line {
  const line: Line = { times: [], values: [] };
  let next = 0;
  for (let at = start; at <= end; at += step) {
    while (next < samples.length && samples[next]![0] < at) next++;
    const sample = samples[next];
    line.times.push(at);
    line.values.push(sample?.[0] === at ? finite(sample[1]) : null);
  }
  return line;
}

/** The series of one thing by metric name: there is one of each, whatever labels it has. */
export function byMetric(answer: PromSeries[]): Map<string, Line> {
  return new Map(answer.map((series) => [series.metric.__name__ ?? '', asRecorded(series.values)]));
}
