import type { Line } from '../text/series';

const width = 112;
const height = 18;

/** The shape of a line between two times, Unix seconds, without axes. */
export function Sparkline({ line, from, to }: { line: Line; from: number; to: number }) {
  const { times, values } = line;
  const known = values.filter((value) => value !== null);
  if (known.length < 2) return <svg width={width} height={height} aria-hidden="true" />;
  const low = Math.min(...known);
  const high = Math.max(...known);
  const x = (at: number) => (((at - from) / (to - from)) * (width - 4) + 1).toFixed(1);
  const y = (value: number) => (high === low ? height / 2 : height - 2 - ((value - low) / (high - low)) * (height - 4)).toFixed(1);
  let path = '';
  let pen = 'M';
  let end: [string, string] | undefined;
  times.forEach((at, index) => {
    const value = values[index];
    if (value === null || value === undefined) {
      pen = 'M';
      return;
    }
    end = [x(at), y(value)];
    path += pen + end.join(' ');
    pen = 'L';
  });
  return (
    <svg className="sparkline" width={width} height={height} aria-hidden="true">
      <path d={path} fill="none" stroke="currentColor" strokeWidth="1.25" strokeLinejoin="round" />
      {end && <circle cx={end[0]} cy={end[1]} r="1.75" fill="var(--accent)" />}
    </svg>
  );
}
