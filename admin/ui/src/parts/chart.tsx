// A time chart on uPlot. Colors come from the tokens when it is drawn, and it is drawn anew when the scheme changes:
// a canvas does not follow CSS by itself.
import { useComputedColorScheme } from '@mantine/core';
import { useEffect, useRef } from 'react';
import uPlot from 'uplot';
import 'uplot/dist/uPlot.min.css';
import { moment } from '../text/format';
import './chart.css';

export interface ChartSeries {
  label: string;
  /** One per time; null is a gap. */
  values: (number | null)[];
  /** 1 to 7: the token --series-N. */
  color: number;
  /** Steps instead of slopes: for booleans and counts. */
  stepped?: boolean;
}

interface ChartProps {
  /** Unix seconds, ascending. */
  times: number[];
  series: ChartSeries[];
  height: number;
  /** What the picture shows, for those who do not see it. */
  label: string;
  format: (value: number) => string;
  /** For the axis; undefined: as `format`. */
  formatTick?: (value: number) => string;
  /** The span of the time axis, Unix seconds; undefined: that of the data. */
  span?: { from: number; to: number };
  /** Charts with one name share a cursor. */
  sync?: string;
  fromZero?: boolean;
  /** Width of the value axis in pixels, for charts that stand above each other; undefined: what its labels need. */
  axisWidth?: number;
  /** The time axis is on the chart below. */
  hideTime?: boolean;
  onBrush?: (from: number, to: number) => void;
}

const dashes: (number[] | undefined)[] = [undefined, [6, 3], [2, 2], [8, 3, 2, 3], [4, 4], [1, 3], [10, 4]];

const minute = 60;
const day = 86400;
// Smallest step and format: uPlot's own table, for a 24 h clock. The readout and the line below the chart have the date.
const timeLabels: (string | number | null)[][] = [
  [day, '{MM}-{DD}', null, null, null, null, null, null, 1],
  [minute, '{HH}:{mm}', null, null, null, null, null, null, 1],
  [1, '{HH}:{mm}:{ss}', null, null, null, null, null, null, 1],
];

export default function Chart({ times, series, height, label, format, formatTick = format, span, sync, fromZero, axisWidth, hideTime, onBrush }: ChartProps) {
  const box = useRef<HTMLDivElement>(null);
  const readout = useRef<HTMLOutputElement>(null);
  const plot = useRef<uPlot | undefined>(undefined);
  const scheme = useComputedColorScheme('light');
  // What the plot's callbacks read when they run: always the newest.
  const now = useRef({ format, formatTick, span, onBrush, series });
  now.current = { format, formatTick, span, onBrush, series };
  const data: uPlot.AlignedData = [times, ...series.map((one) => one.values)];
  const shape = series.map((one) => `${one.label}/${one.color}/${one.stepped}`).join();

  useEffect(() => {
    const element = box.current;
    if (!element) return;
    const style = getComputedStyle(document.documentElement);
    const token = (name: string) => style.getPropertyValue(name).trim();
    const font = `11px ${token('--sans')}`;
    const axis: uPlot.Axis = { stroke: token('--muted'), font, ticks: { show: false }, grid: { stroke: token('--hairline'), width: 1 } };

    const chart = new uPlot(
      {
        width: element.clientWidth,
        height,
        padding: [8, 24, hideTime ? 4 : 0, 0],
        legend: { show: false },
        scales: {
          x: { time: true, range: (_, low, high) => (now.current.span ? [now.current.span.from, now.current.span.to] : [low, high]) },
          y: { range: (_, low, high) => yRange(low, high, fromZero) },
        },
        axes: [
          { ...axis, show: !hideTime, grid: { show: false }, space: 72, size: 26, gap: 6, values: timeLabels as uPlot.Axis.Values },
          {
            ...axis,
            space: height > 300 ? 44 : 28,
            gap: 6,
            size: (self, labels) => {
              if (axisWidth || !labels) return axisWidth ?? 40;
              self.ctx.font = `${11 * devicePixelRatio}px ${token('--sans')}`;
              return Math.ceil(Math.max(...labels.map((text) => self.ctx.measureText(text).width)) / devicePixelRatio) + 10;
            },
            values: (_, ticks) => ticks.map((tick) => now.current.formatTick(tick)),
          },
        ],
        cursor: {
          points: { size: 7 },
          drag: { x: !!onBrush, y: false, setScale: false },
          ...(sync ? { sync: { key: sync } } : {}),
        },
        select: { show: !!onBrush, left: 0, top: 0, width: 0, height: 0 },
        series: [
          {},
          ...series.map((one) => ({
            label: one.label,
            stroke: token(`--series-${one.color}`),
            width: 1.5,
            dash: dashes[one.color - 1],
            points: { size: 4, fill: token(`--series-${one.color}`) },
            spanGaps: false,
            ...(one.stepped ? { paths: uPlot.paths.stepped!({ align: 1 }) } : {}),
          })),
        ],
        hooks: {
          setCursor: [
            (self) => {
              const out = readout.current;
              if (!out) return;
              const at = self.cursor.idx;
              if (at === null || at === undefined) {
                out.textContent = '';
                return;
              }
              const parts = nearest(self, at, now.current.series.length).map((index) => {
                const value = self.data[index + 1]?.[at];
                return `${now.current.series.length > 1 ? now.current.series[index]!.label + ' ' : ''}${value === null || value === undefined ? 'no value' : now.current.format(value)}`;
              });
              out.textContent = `${moment(self.data[0][at]! * 1000)}   ${parts.join('   ')}`;
            },
          ],
          setSelect: [
            (self) => {
              if (self.select.width < 4) return;
              const from = Math.floor(self.posToVal(self.select.left, 'x'));
              const to = Math.ceil(self.posToVal(self.select.left + self.select.width, 'x'));
              self.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
              now.current.onBrush?.(from, Math.max(to, from + 2));
            },
          ],
        },
      },
      data,
      element,
    );
    plot.current = chart;
    const observer = new ResizeObserver(() => chart.setSize({ width: element.clientWidth, height }));
    observer.observe(element);
    return () => {
      observer.disconnect();
      chart.destroy();
      plot.current = undefined;
    };
    // The data comes by the effect below; a new plot is for a new look only.
  }, [scheme, height, shape, sync, fromZero, axisWidth, hideTime, !!onBrush]);

  useEffect(() => {
    plot.current?.setData(data);
  });

  return (
    <div className="chart" style={{ height }}>
      <div ref={box} role="img" aria-label={label} />
      <output ref={readout} className="chart-readout" aria-hidden="true" />
    </div>
  );
}

// The readout has room for so many series; of more, it has the one at the pointer.
const mostRead = 3;

/** The series to read at a time, by index: all of a few, else the one whose value is nearest to the cursor. */
function nearest(plot: uPlot, at: number, series: number): number[] {
  if (series <= mostRead) return Array.from({ length: series }, (_, index) => index);
  const wanted = plot.posToVal(plot.cursor.top ?? 0, 'y');
  let best = -1;
  let distance = Infinity;
  for (let index = 0; index < series; index++) {
    const value = plot.data[index + 1]?.[at];
    if (value !== null && value !== undefined && Math.abs(value - wanted) < distance) {
      best = index;
      distance = Math.abs(value - wanted);
    }
  }
  return best < 0 ? [] : [best];
}

/** A little air around the data; around a constant, enough to see that it is one. */
function yRange(low: number | null, high: number | null, fromZero = false): [number, number] {
  if (low === null || high === null) return [0, 1];
  if (fromZero) return [0, high > 0 ? high * 1.1 : 1];
  if (low === high) {
    const air = Math.abs(low) * 0.1 || 1;
    return [low - air, high + air];
  }
  const air = (high - low) * 0.08;
  return [low - air, high + air];
}
