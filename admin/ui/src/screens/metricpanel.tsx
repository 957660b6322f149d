import { useViewportSize } from '@mantine/hooks';
import { useQuery } from '@tanstack/react-query';
import { Link } from 'wouter';
import { serverNow } from '../api/client';
import type { TwinField } from '../api/contract';
import * as gateway from '../api/gateway';
import { CopyButton } from '../parts/copy';
import { LazyChart } from '../parts/lazychart';
import { Problem } from '../parts/problem';
import { RangeControls } from '../parts/rangecontrols';
import { Moment } from '../parts/time';
import { count, decimalsOf, fixed, measured, moment, plural, span as spanText } from '../text/format';
import { ofThing } from '../text/promql';
import { asRecorded, onRaster } from '../text/series';
import { type DeviceView, exploreLink, raster, rangeSeconds, ranges } from '../text/urlstate';

interface MetricPanelProps {
  thing: string;
  metric: string;
  unit: string;
  field: TwinField | undefined;
  view: DeviceView;
  change: (part: Partial<DeviceView>) => void;
}

// Up to here every sample is drawn where it was recorded; longer spans are asked in steps.
const recordedSeconds = 3600;
const maxPoints = 720;
const tableRows = 500;

/** One column of a thing over the range of the URL, drawn or as a table. */
export function MetricPanel({ thing, metric, unit, field, view, change }: MetricPanelProps) {
  const query = ofThing(metric, thing);
  const { range, zoom } = view;
  const data = useQuery({
    queryKey: ['range', query, range, zoom],
    queryFn: async ({ signal }) => {
      const now = Math.floor(serverNow() / 1000);
      const span = zoom ?? { from: now - rangeSeconds[range], to: now };
      const seconds = span.to - span.from;
      if (seconds <= recordedSeconds) {
        const [recorded] = await gateway.querySamples(query, seconds, span.to, signal);
        return { span, ...asRecorded(recorded?.values ?? []) };
      }
      const grid = raster(span.from, span.to, maxPoints);
      const [stepped] = await gateway.queryRange(query, grid, signal);
      return { span, ...onRaster(stepped?.values ?? [], grid) };
    },
    // What lies in the past for good is asked once.
    refetchInterval: zoom ? false : 10_000,
    placeholderData: (before) => before,
  });

  const values = data.data?.values.filter((value) => value !== null) ?? [];
  const decimals = decimalsOf(values);
  const withUnit = (text: string) => (unit ? `${text} ${unit}` : text);
  const format = (value: number) => withUnit(fixed(value, decimals));
  const stepped = field?.kind === 'bool';
  // What the head, the toolbar and the line below leave of the window.
  const window = useViewportSize();
  const height = window.width <= 1100 ? 260 : Math.max(240, Math.min(560, window.height - 330));
  return (
    <section className="metric" aria-labelledby="metric" style={{ '--chart-height': `${height}px` } as React.CSSProperties}>
      <div className="section-head metric-head">
        <h2 id="metric" className="mono">
          {metric}
        </h2>
        <Summary values={values} format={format} />
        <span className="spread" />
        <RangeControls ranges={ranges} range={range} zoomed={zoom !== undefined} back="Back to the whole range" asTable={view.asTable} change={change}>
          <CopyButton text={query} what="as PromQL" />
        </RangeControls>
      </div>
      {data.error && !data.data ? (
        <Problem error={data.error} retry={() => data.refetch()} />
      ) : !data.data ? (
        <div className="metric-space" />
      ) : values.length === 0 ? (
        <p className="metric-space muted">
          No value in {zoom ? 'this part of the time line' : `the last ${spanText(rangeSeconds[range])}`}. Take a longer range.
        </p>
      ) : view.asTable ? (
        <Table metric={metric} times={data.data.times} values={data.data.values} format={format} />
      ) : (
        <LazyChart
          times={data.data.times}
          series={[{ label: metric, values: data.data.values, color: 1, stepped }]}
          height={height}
          label={`${metric} of ${thing}, ${moment(data.data.span.from * 1000)} to ${moment(data.data.span.to * 1000)}; the table view has the values`}
          format={format}
          formatTick={measured}
          span={data.data.span}
          onBrush={(from, to) => change({ zoom: { from, to } })}
        />
      )}
      <p className="metric-query">
        <code className="clip">{query}</code>
        <Link href={exploreLink({ q: query, range, zoom })}>Explore</Link>
        <span className="muted">{zoom ? `${moment(zoom.from * 1000)} to ${moment(zoom.to * 1000)}` : !view.asTable && 'drag over the chart to zoom'}</span>
      </p>
    </section>
  );
}

function Summary({ values, format }: { values: number[]; format: (value: number) => string }) {
  if (values.length === 0) return null;
  let low = Infinity;
  let high = -Infinity;
  let sum = 0;
  for (const value of values) {
    low = Math.min(low, value);
    high = Math.max(high, value);
    sum += value;
  }
  const parts: [string, number][] = [
    ['now', values[values.length - 1]!],
    ['min', low],
    ['mean', sum / values.length],
    ['max', high],
  ];
  return (
    <span className="metric-summary">
      {parts.map(([name, value]) => (
        <span key={name}>
          <span className="muted">{name}</span> {format(value)}
        </span>
      ))}
    </span>
  );
}

function Table({ metric, times, values, format }: { metric: string; times: number[]; values: (number | null)[]; format: (value: number) => string }) {
  const rows = times
    .map((at, index) => ({ at, value: values[index] ?? null }))
    .filter((row): row is { at: number; value: number } => row.value !== null)
    .reverse();
  const left = rows.length - tableRows;
  return (
    <div className="metric-table" tabIndex={0} role="region" aria-label={`Values of ${metric}`}>
      <table className="grid">
        <thead>
          <tr>
            <th>Time</th>
            <th className="right">{metric}</th>
          </tr>
        </thead>
        <tbody>
          {rows.slice(0, tableRows).map(({ at, value }) => (
            <tr key={at}>
              <td>
                <Moment ms={at * 1000} />
              </td>
              <td className="right">{format(value)}</td>
            </tr>
          ))}
        </tbody>
      </table>
      {left > 0 && (
        <p className="muted">
          {count(left)} older {plural(left, 'row')}: take a shorter range to see them.
        </p>
      )}
    </div>
  );
}
