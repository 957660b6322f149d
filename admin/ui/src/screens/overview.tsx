import { useQuery } from '@tanstack/react-query';
import { useMemo } from 'react';
import { Link } from 'wouter';
import { mayManageKeys, type Overview as Figures, type Role } from '../api/contract';
import * as gateway from '../api/gateway';
import { type LivePoint, useLive } from '../live/overview';
import { Glyph, type Status } from '../parts/glyph';
import { LazyChart } from '../parts/lazychart';
import { Placeholder } from '../parts/late';
import { useTitle } from '../parts/title';
import { useMe } from '../shell/session';
import { bytes, count, figure, measured, plural, span } from '../text/format';
import { fleetLink } from '../text/urlstate';
import { FirstDevice } from './firstdevice';
import './overview.css';

export function Overview() {
  useTitle('Overview');
  const { overview } = useLive();
  if (!overview) return <Placeholder rows={8} />;
  return (
    <div className="page">
      <Headline figures={overview} />
      {overview.things === 0 ? (
        <FirstDevice />
      ) : (
        <>
          <NeedsYou figures={overview} />
          <LiveCharts figures={overview} />
        </>
      )}
      <div className="halves">
        {overview.things > 0 && <ByType figures={overview} />}
        <Gateway figures={overview} />
      </div>
    </div>
  );
}

const offlineOf = (figures: Figures) => Math.max(0, figures.things - figures.connected - figures.neverSeen);

function Headline({ figures }: { figures: Figures }) {
  const offline = offlineOf(figures);
  return (
    <header className="page-head headline">
      <h1>
        <Link className="number" href={fleetLink({})}>
          {count(figures.things)} {plural(figures.things, 'thing')}
        </Link>
        <span className="dot" />
        <Link className="number" href={fleetLink({ state: 'connected' })}>
          {count(figures.connected)} connected
        </Link>
        {offline > 0 && (
          <>
            <span className="dot" />
            <Link className="number" href={fleetLink({ state: 'offline', sort: 'lastSeen' })}>
              {count(offline)} offline
            </Link>
          </>
        )}
      </h1>
      <span className="spread" />
      <p className="muted">
        <b>{figure(figures.messagesPerSecond)}</b> messages/s
        <span className="dot" />
        <b>{figure(figures.samplesPerSecond)}</b> samples/s
      </p>
    </header>
  );
}

interface Need {
  status: Status;
  text: string;
  detail: string;
  action: string;
  href: string;
}

const lowDiskBytes = 1e9;

/** What a person should look at, worst first. Each row leads to the place where it can be seen or mended. */
export function needsOf(figures: Figures, role: Role): Need[] {
  const needs: Need[] = [];
  if (!figures.ready) {
    needs.push({
      status: 'bad',
      text: 'The gateway takes no telemetry',
      detail: figures.readyReason || 'it gave no reason',
      action: 'This gateway',
      href: '/about',
    });
  }
  if (figures.diskFreeBytes > 0 && figures.diskFreeBytes < lowDiskBytes) {
    needs.push({
      status: 'warn',
      text: `${bytes(figures.diskFreeBytes)} of disk are free`,
      detail: `telemetry takes ${bytes(figures.bytesOnDisk)}`,
      action: 'This gateway',
      href: '/about',
    });
  }
  if (figures.refusedTotal > 0) {
    const n = figures.refusedTotal;
    needs.push({
      status: 'warn',
      text: `${count(n)} ${plural(n, 'connection or enrollment was', 'connections or enrollments were')} refused`,
      detail: `since the start ${span(figures.uptimeSeconds)} ago`,
      ...(mayManageKeys(role) ? { action: 'See the audit', href: '/audit' } : { action: 'This gateway', href: '/about' }),
    });
  }
  const offline = offlineOf(figures);
  if (offline > 0) {
    needs.push({
      status: 'off',
      text: `${count(offline)} ${plural(offline, 'thing is', 'things are')} offline`,
      detail: `${measured(Number(((100 * offline) / figures.things).toPrecision(2)))} % of the fleet`,
      action: 'Show them',
      href: fleetLink({ state: 'offline', sort: 'lastSeen' }),
    });
  }
  if (figures.neverSeen > 0) {
    const n = figures.neverSeen;
    needs.push({
      status: 'never',
      text: `${count(n)} ${plural(n, 'thing has', 'things have')} never connected`,
      detail: 'registered, but not seen yet',
      action: 'Show them',
      href: fleetLink({ state: 'never' }),
    });
  }
  return needs;
}

function NeedsYou({ figures }: { figures: Figures }) {
  const { role } = useMe();
  const alarms = useQuery({ queryKey: ['alarms'], queryFn: ({ signal }) => gateway.alarms(signal), refetchInterval: 10_000 });
  const needs = [...(alarms.data ?? []).slice(0, shownAlarms).map(needOfAlarm), ...needsOf(figures, role)];
  return (
    <section className="section" aria-labelledby="needs">
      <div className="section-head">
        <h2 id="needs">Needs you</h2>
      </div>
      {needs.length === 0 ? (
        <p className="need-none">
          <Glyph status="ok" /> Nothing. Every thing is connected and the gateway has room.
        </p>
      ) : (
        <ul className="needs">
          {needs.map((need) => (
            <li key={need.text.replace(/[\d,.]+/g, '')} data-status={need.status}>
              <Glyph status={need.status} />
              <span className="need-text">{need.text}</span>
              <span className="need-detail clip">{need.detail}</span>
              <Link href={need.href}>
                {need.action}
                <span className="unseen">: {need.text}</span>
              </Link>
            </li>
          ))}
        </ul>
      )}
    </section>
  );
}

const shownAlarms = 5;

function needOfAlarm({ thingName, message, count: times }: gateway.Alarm): Need {
  return { status: 'bad', text: `${thingName}: ${message}`, detail: `${count(times)} ${plural(times, 'time')}`, action: 'Show it', href: `/fleet/${encodeURIComponent(thingName)}` };
}

const axisWidth = 52;

const historySeconds = 3600;
const historyStep = 15; // seconds; how often a gateway records its figures

/** The last hour, as the gateway recorded it. What this page sees itself is finer and follows it. */
async function history(signal: AbortSignal): Promise<LivePoint[]> {
  const end = Math.floor(Date.now() / 1000 / historyStep) * historyStep;
  const range = { start: end - historySeconds, end, step: historyStep };
  const [connected, messages] = await Promise.all([
    gateway.queryRange('muster_things_connected{job="muster"}', range, signal),
    gateway.queryRange('rate(muster_messages_total{job="muster"}[1m])', range, signal),
  ]);
  const rates = new Map(messages[0]?.values.map(([at, value]) => [at, Number(value)]));
  return (connected[0]?.values ?? []).flatMap(([at, value]) => {
    const messagesPerSecond = rates.get(at);
    return messagesPerSecond === undefined ? [] : [{ at, connected: Number(value), messagesPerSecond }];
  });
}

function LiveCharts({ figures }: { figures: Figures }) {
  const live = useLive().points;
  const recorded = useQuery({ queryKey: ['history'], queryFn: ({ signal }) => history(signal), staleTime: Infinity, retry: false }).data;
  const points = useMemo(() => {
    const begin = live[0]?.at ?? Infinity;
    return [...(recorded ?? []).filter((point) => point.at < begin), ...live];
  }, [recorded, live]);
  const times = useMemo(() => points.map((point) => point.at), [points]);
  const last = times[times.length - 1] ?? 0;
  // The axis begins with one minute and grows to the hour that is shown.
  const since = Math.max(Math.min(times[0] ?? last, last - 60), last - historySeconds);
  const axis = { from: since, to: last };
  const minutes = Math.ceil((last - since) / 60);
  return (
    <section className="section" aria-labelledby="live">
      <div className="section-head">
        <h2 id="live">Now</h2>
        <span className="muted">{minutes === 1 ? 'the last minute' : `the last ${minutes} minutes`}</span>
      </div>
      <Strip name="Messages/s" value={figure(figures.messagesPerSecond)}>
        <LazyChart
          times={times}
          series={[{ label: 'messages/s', values: points.map((point) => point.messagesPerSecond), color: 1 }]}
          height={128}
          axisWidth={axisWidth}
          hideTime
          label={`Messages per second over the last minutes, now ${figure(figures.messagesPerSecond)}`}
          format={figure}
          span={axis}
          sync="overview"
          fromZero
        />
      </Strip>
      <Strip name="Connected" value={count(figures.connected)} href={fleetLink({ state: 'connected' })}>
        <LazyChart
          times={times}
          series={[{ label: 'connected', values: points.map((point) => point.connected), color: 3, stepped: true }]}
          height={128}
          axisWidth={axisWidth}
          label={`Connected things over the last minutes, now ${count(figures.connected)}`}
          format={count}
          span={axis}
          sync="overview"
          fromZero
        />
      </Strip>
    </section>
  );
}

function Strip({ name, value, href, children }: { name: string; value: string; href?: string; children: React.ReactNode }) {
  return (
    <div className="strip">
      <div className="strip-name">
        <span className="muted">{name}</span>
        <b>{href ? <Link className="number" href={href}>{value}</Link> : value}</b>
      </div>
      {children}
    </div>
  );
}

const shownTypes = 8;

function ByType({ figures }: { figures: Figures }) {
  const types = Object.entries(figures.byType ?? {}).sort(([a, n], [b, m]) => m - n || a.localeCompare(b));
  const most = types[0]?.[1] ?? 1;
  const rest = types.length - shownTypes;
  return (
    <section className="section" aria-labelledby="types">
      <div className="section-head">
        <h2 id="types">By type</h2>
      </div>
      <ul className="bars">
        {types.slice(0, shownTypes).map(([type, n]) => (
          <li key={type}>
            {type ? (
              <Link className="number clip" href={fleetLink({ type })}>
                {type}
              </Link>
            ) : (
              <span className="muted">no type</span>
            )}
            <span className="bar" aria-hidden="true">
              <span style={{ width: `${(100 * n) / most}%` }} />
            </span>
            <span className="right">{count(n)}</span>
          </li>
        ))}
      </ul>
      {rest > 0 && (
        <p className="muted">
          and {count(rest)} {plural(rest, 'type')} more
        </p>
      )}
    </section>
  );
}

function Gateway({ figures }: { figures: Figures }) {
  const rows: [string, string][] = [
    ['Memory', bytes(figures.memoryBytes)],
    ['Disk free', bytes(figures.diskFreeBytes)],
    ['Telemetry on disk', bytes(figures.bytesOnDisk)],
    ['Bytes per sample', figures.bytesPerSample > 0 ? figure(figures.bytesPerSample) : '–'],
    ['Samples', count(figures.samplesTotal)],
    ['Series', count(figures.series)],
    ['Messages', count(figures.messagesTotal)],
    ['Up for', span(figures.uptimeSeconds)],
  ];
  return (
    <section className="section" aria-labelledby="gateway">
      <div className="section-head">
        <h2 id="gateway">
          <Link className="number" href="/about">
            This gateway
          </Link>
        </h2>
      </div>
      <dl className="figures">
        {rows.map(([name, value]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>{value}</dd>
          </div>
        ))}
      </dl>
    </section>
  );
}
