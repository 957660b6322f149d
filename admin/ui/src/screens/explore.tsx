// Explore: a PromQL expression over time as a chart, or at one time as a table. All of it is in the URL.
import { Button } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { useState } from 'react';
import { useSearchParams } from 'wouter';
import { serverNow } from '../api/client';
import * as prometheus from '../api/prometheus';
import type { PromSeries } from '../api/contract';
import { CopyButton } from '../parts/copy';
import { Placeholder } from '../parts/late';
import { LazyChart } from '../parts/lazychart';
import { Problem } from '../parts/problem';
import { QueryProblem } from '../parts/queryproblem';
import { RangeControls } from '../parts/rangecontrols';
import { useTitle } from '../parts/title';
import { count, measured, moment, plural, span as spanText } from '../text/format';
import { differing, mistakeIn, ofMetric, seriesName } from '../text/promql';
import { onRaster } from '../text/series';
import { type ExploreView, exploreLink, longRanges, longRangeSeconds, raster, readExplore, writeExplore } from '../text/urlstate';
import { PromqlField } from './promqlfield';
import './explore.css';

const maxPoints = 720;
const mostDrawn = 50;
const mostRows = 500;
const colors = 7;

export default function Explore() {
  useTitle('Explore');
  const [params, setParams] = useSearchParams();
  const view = readExplore(params);
  const change = (part: Partial<ExploreView>) => setParams(writeExplore({ ...readExplore(new URLSearchParams(location.search)), ...part }));
  const { q, range, zoom, asTable } = view;
  const span = () => {
    const now = Math.floor(serverNow() / 1000);
    return zoom ?? { from: now - longRangeSeconds[range], to: now };
  };
  const common = {
    enabled: q !== '',
    // What lies in the past for good is asked once.
    refetchInterval: zoom ? (false as const) : 10_000,
    retry: false,
  };
  const drawn = useQuery({
    ...common,
    enabled: common.enabled && !asTable,
    queryKey: ['explore', 'range', q, range, zoom],
    queryFn: async ({ signal }) => {
      const asked = span();
      const grid = raster(asked.from, asked.to, maxPoints);
      return { span: asked, grid, ...(await prometheus.range(q, grid, signal)) };
    },
  });
  const listed = useQuery({
    ...common,
    enabled: common.enabled && asTable,
    queryKey: ['explore', 'instant', q, range, zoom],
    queryFn: async ({ signal }) => {
      const { to } = span();
      return { at: to, ...(await prometheus.instant(q, to, signal)) };
    },
  });
  const answer = asTable ? listed : drawn;
  const run = (text: string) => (text === q ? void answer.refetch() : change({ q: text }));

  return (
    <div className="page">
      <header className="page-head explore-head">
        <h1>Explore</h1>
        <span className="spread" />
        <RangeControls
          ranges={longRanges}
          range={range}
          zoomed={zoom !== undefined}
          back={`Back to the last ${spanText(longRangeSeconds[range])}`}
          asTable={asTable}
          change={change}
        />
        {/* With the times as they are now, so that whoever follows it sees the same. */}
        <CopyButton text={`${location.origin}${exploreLink({ ...view, zoom: (asTable ? undefined : drawn.data?.span) ?? span() })}`} what="a link to exactly this" />
      </header>
      <div className="explore-query">
        <PromqlField value={q} onRun={run} />
      </div>
      {q === '' ? (
        <Beginning onTake={(metric) => change({ q: ofMetric(metric) })} />
      ) : answer.error ? (
        <Wrong query={q} error={answer.error} retry={() => void answer.refetch()} />
      ) : asTable ? (
        listed.data ? (
          <Listed {...listed.data} />
        ) : (
          <Waiting />
        )
      ) : drawn.data ? (
        <Drawn {...drawn.data} onBrush={(from, to) => change({ zoom: { from, to } })} />
      ) : (
        <Waiting />
      )}
    </div>
  );
}

function Waiting() {
  return (
    <div className="section">
      <Placeholder rows={8} />
    </div>
  );
}

function Wrong({ query, error, retry }: { query: string; error: Error; retry: () => void }) {
  const mistake = mistakeIn(query, error.message);
  return mistake ? <QueryProblem query={query} at={mistake.at} message={mistake.message} /> : <Problem error={error} retry={retry} />;
}

/** Nothing is asked yet: which metrics there are. */
function Beginning({ onTake }: { onTake: (metric: string) => void }) {
  const list = useQuery({ queryKey: ['metrics'], queryFn: ({ signal }) => prometheus.metricNames(signal), staleTime: 60_000 });
  const [all, setAll] = useState(false);
  if (list.error) return <Problem error={list.error} retry={() => void list.refetch()} />;
  if (!list.data) return <Waiting />;
  const shown = all ? list.data : list.data.slice(0, 60);
  return (
    <section className="section" aria-labelledby="metrics">
      <div className="section-head">
        <h2 id="metrics">Metrics</h2>
        <span className="muted">{count(list.data.length)}; take one, or write an expression and press Enter</span>
      </div>
      {list.data.length === 0 && <p className="muted">No telemetry has come yet.</p>}
      <ul className="explore-metrics">
        {shown.map((metric) => (
          <li key={metric}>
            <button type="button" className="plain link mono" onClick={() => onTake(metric)}>
              {metric}
            </button>
          </li>
        ))}
      </ul>
      {shown.length < list.data.length && (
        <Button mt={12} onClick={() => setAll(true)}>
          Show all
        </Button>
      )}
    </section>
  );
}

interface DrawnProps extends prometheus.Answer<{ result: PromSeries[] }> {
  span: { from: number; to: number };
  grid: { start: number; end: number; step: number };
  onBrush: (from: number, to: number) => void;
}

function Drawn({ result, span, grid, warnings, tookMs, onBrush }: DrawnProps) {
  const [only, setOnly] = useState<string>();
  const shown = differing(result.map((series) => series.metric));
  const lines = result.slice(0, mostDrawn).map((series, index) => ({
    label: seriesName(series.metric, result.length === 1 ? Object.keys(series.metric) : shown),
    color: (index % colors) + 1,
    ...onRaster(series.values, grid),
  }));
  const chosen = lines.some((line) => line.label === only) ? lines.filter((line) => line.label === only) : lines;
  return (
    <>
      <Facts warnings={warnings}>
        {count(result.length)} series · one value per {spanText(grid.step)} · {tookMs.toFixed(0)} ms
        {result.length > mostDrawn && ` · the first ${mostDrawn} are drawn: topk(${mostDrawn}, …) has the largest`}
      </Facts>
      {lines.length === 0 ? (
        <p className="section muted">No value from {moment(span.from * 1000)} to {moment(span.to * 1000)}.</p>
      ) : (
        <>
          <div className="explore-chart">
            <LazyChart
              times={lines[0]!.times}
              series={chosen}
              height={340}
              label={`${count(chosen.length)} series from ${moment(span.from * 1000)} to ${moment(span.to * 1000)}; the table below has their values`}
              format={measured}
              span={span}
              onBrush={onBrush}
            />
          </div>
          <section className="section" aria-label="Series">
            <div className="explore-table" tabIndex={0} role="region" aria-label="Values of the series">
              <table className="grid">
                <thead>
                  <tr>
                    <th>Series</th>
                    <th className="right">Last</th>
                    <th className="right">Min</th>
                    <th className="right">Mean</th>
                    <th className="right">Max</th>
                  </tr>
                </thead>
                <tbody>
                  {lines.map((line) => (
                    <Row key={line.label} {...line} faded={!chosen.includes(line)} onTake={() => setOnly(only === line.label ? undefined : line.label)} />
                  ))}
                </tbody>
              </table>
            </div>
          </section>
        </>
      )}
    </>
  );
}

function Facts({ warnings, children }: { warnings: string[]; children: React.ReactNode }) {
  return (
    <div className="explore-facts" role="status">
      <p className="muted">{children}</p>
      {warnings.map((warning) => (
        <p key={warning}>{warning}</p>
      ))}
    </div>
  );
}

interface RowProps {
  label: string;
  color: number;
  values: (number | null)[];
  faded: boolean;
  onTake: () => void;
}

function Row({ label, color, values, faded, onTake }: RowProps) {
  const known = values.filter((value) => value !== null);
  const figures =
    known.length > 0 ? [known.at(-1)!, Math.min(...known), known.reduce((sum, value) => sum + value, 0) / known.length, Math.max(...known)] : [];
  return (
    <tr data-faded={faded}>
      <td className="fill clip">
        <span className="explore-swatch" style={{ background: `var(--series-${color})` }} />
        <button type="button" className="plain mono" title={label} aria-pressed={!faded} aria-label={`Only ${label}`} onClick={onTake}>
          {label}
        </button>
      </td>
      {[0, 1, 2, 3].map((index) => (
        <td key={index} className="right">
          {figures[index] === undefined ? '' : measured(figures[index])}
        </td>
      ))}
    </tr>
  );
}

/** The values at one time: a row for each series, with the labels in which they differ. */
function Listed(answer: prometheus.Answer<prometheus.Result> & { at: number }) {
  const rows: { labels: Record<string, string>; value: string }[] =
    answer.resultType === 'vector'
      ? answer.result.map(({ metric, value }) => ({ labels: metric, value: value[1] }))
      : answer.resultType === 'matrix'
        ? answer.result.map(({ metric, values }) => ({ labels: metric, value: `${values.at(-1)?.[1] ?? ''}, the last of ${count(values.length)}` }))
        : [{ labels: {}, value: answer.result[1] }];
  const names = rows.length === 1 ? Object.keys(rows[0]!.labels).sort() : differing(rows.map(({ labels }) => labels));
  return (
    <>
      <Facts warnings={answer.warnings}>
        {count(rows.length)} {plural(rows.length, 'value')} at {moment(answer.at * 1000)} · {answer.tookMs.toFixed(0)} ms
        {rows.length > mostRows && ` · the first ${mostRows} are shown`}
      </Facts>
      <section className="section" aria-label="Values">
        {rows.length === 0 ? (
          <p className="muted">No value at this time.</p>
        ) : (
          <div className="explore-table" tabIndex={0} role="region" aria-label="Values at one time">
            <table className="grid">
              <thead>
                <tr>
                  <th className="right">Value</th>
                  {names.map((name) => (
                    <th key={name}>{name === '__name__' ? 'metric' : name}</th>
                  ))}
                </tr>
              </thead>
              <tbody>
                {rows.slice(0, mostRows).map(({ labels, value }, index) => (
                  <tr key={index}>
                    <td className="right">{Number.isNaN(Number(value)) ? value : measured(Number(value))}</td>
                    {names.map((name) => (
                      <td key={name} className="mono">
                        {labels[name]}
                      </td>
                    ))}
                  </tr>
                ))}
              </tbody>
            </table>
          </div>
        )}
      </section>
    </>
  );
}
