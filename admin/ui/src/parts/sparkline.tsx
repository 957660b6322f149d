/** An hour of one column, without axes: only its shape. times and values are of one length, ascending. */
export function Sparkline({ times, values, from, to }: { times: number[]; values: number[]; from: number; to: number }) {
  const width = 112;
  const height = 18;
  const finite = values.filter(Number.isFinite);
  if (finite.length < 2) return <svg width={width} height={height} aria-hidden="true" />;
  const low = Math.min(...finite);
  const high = Math.max(...finite);
  const x = (at: number) => (((at - from) / (to - from)) * (width - 4) + 1).toFixed(1);
  const y = (value: number) => (high === low ? height / 2 : height - 2 - ((value - low) / (high - low)) * (height - 4)).toFixed(1);
  // A pause of more than three usual steps is a gap, not a line across it.
  const usual = (times[times.length - 1]! - times[0]!) / (times.length - 1);
  let path = '';
  times.forEach((at, index) => {
    if (!Number.isFinite(values[index])) return;
    const pen = index === 0 || at - times[index - 1]! > 3 * usual ? 'M' : 'L';
    path += `${pen}${x(at)} ${y(values[index]!)}`;
  });
  const last = times.length - 1;
  return (
    <svg className="sparkline" width={width} height={height} aria-hidden="true">
      <path d={path} fill="none" stroke="currentColor" strokeWidth="1.25" strokeLinejoin="round" />
      <circle cx={x(times[last]!)} cy={y(values[last]!)} r="1.75" fill="var(--accent)" />
    </svg>
  );
}
