// One thing: who it is, what it said last (the twin), and one column of it over time.
import { Button } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { IconArrowLeft } from '@tabler/icons-react';

import { Link, useSearchParams } from 'wouter';
import { Refusal, serverNow } from '../api/client';
import type { ThingDetail, TwinField } from '../api/contract';
import * as gateway from '../api/gateway';
import { groupsOf } from '../api/groups';
import { useNow } from '../live/clock';
import { CopyButton } from '../parts/copy';
import { LastSeen } from '../parts/lastseen';
import { StatusText, statusOf } from '../parts/glyph';
import { Placeholder } from '../parts/late';
import { Problem } from '../parts/problem';
import { Sparkline } from '../parts/sparkline';
import { Ago } from '../parts/time';
import { useTitle } from '../parts/title';
import { useUnits } from '../parts/units';
import { age, count, daysUntil, measured, plural } from '../text/format';
import { allOfThing } from '../text/promql';
import { byMetric } from '../text/series';
import { type DeviceView, fleetLink, raster, readDevice, writeDevice } from '../text/urlstate';
import { MetricPanel } from './metricpanel';
import './device.css';

const hourSeconds = 3600;

export default function Device({ name }: { name: string }) {
  useTitle(name);
  const [params, setParams] = useSearchParams();
  const view = readDevice(params);
  const change = (part: Partial<DeviceView>) => setParams(writeDevice({ ...view, ...part }), { replace: true });
  const thing = useQuery({ queryKey: ['thing', name], queryFn: ({ signal }) => gateway.thing(name, signal), refetchInterval: 5000 });
  const unitOf = useUnits(thing.data?.thingTypeName);
  const twin = useQuery({ queryKey: ['twin', name], queryFn: ({ signal }) => gateway.twin(name, signal), refetchInterval: 5000 });

  if (thing.error && !thing.data) {
    const missing = thing.error instanceof Refusal && thing.error.status === 404;
    return (
      <div>
        <Problem error={thing.error} retry={missing ? undefined : () => thing.refetch()} />
        <p style={{ padding: '0 var(--gutter)' }}>
          <Link href="/fleet">Back to the fleet</Link>
        </p>
      </div>
    );
  }
  if (!thing.data) return <Placeholder rows={8} />;
  const fields = twin.data ?? [];
  const metric = view.metric || fields.find((field) => field.kind === 'number')?.name || '';
  return (
    <div className="page">
      <Head thing={thing.data} />
      <Troubles name={name} />
      <div className="device">
        <section className="twin" aria-labelledby="twin">
          <div className="section-head">
            <h2 id="twin">Latest values</h2>
            <span className="muted">{fields.length > 0 && `${count(fields.length)} ${plural(fields.length, 'column')}, the shape of the last hour`}</span>
          </div>
          {twin.error && !twin.data ? (
            <Problem error={twin.error} retry={() => twin.refetch()} />
          ) : fields.length > 0 ? (
            <Twin thing={name} fields={fields} unitOf={unitOf} selected={metric} onSelect={(metric) => change({ metric })} />
          ) : twin.isPending ? (
            <Placeholder rows={6} />
          ) : (
            <p className="muted">
              It has sent no telemetry yet. A JSON object published to <code>dt/{name}</code> makes one column of each number, boolean and text in it.
            </p>
          )}
        </section>
        {metric !== '' && (
          <MetricPanel thing={name} metric={metric} unit={unitOf(metric)} field={fields.find((field) => field.name === metric)} view={view} change={change} />
        )}
      </div>
    </div>
  );
}

const shownPayloads = 5;

/** What went wrong with the thing lately: alarms, and payloads that could not be read. Nothing where nothing did. */
function Troubles({ name }: { name: string }) {
  const alarms = useQuery({ queryKey: ['alarms'], queryFn: ({ signal }) => gateway.alarms(signal), refetchInterval: 10_000 });
  const payloads = useQuery({ queryKey: ['malformed', name], queryFn: ({ signal }) => gateway.malformed(name, signal), refetchInterval: 10_000 });
  const own = (alarms.data ?? []).filter((alarm) => alarm.thingName === name);
  const refused = (payloads.data ?? []).slice(0, shownPayloads);
  if (own.length + refused.length === 0) return null;
  return (
    <section className="section" aria-labelledby="troubles">
      <div className="section-head">
        <h2 id="troubles">Troubles</h2>
      </div>
      {own.map((alarm) => (
        <p key={alarm.message}>
          <StatusText status="bad">{alarm.message}</StatusText> <Ago ms={alarm.lastMs} />
        </p>
      ))}
      {refused.map((payload) => (
        <p key={`${payload.timeMs} ${payload.topic}`} className="clip">
          <StatusText status="warn">not read: {payload.reason}</StatusText> <Ago ms={payload.timeMs} />{' '}
          <span className="mono muted">
            {payload.topic} {payload.text ?? `(base64) ${payload.base64}`}
          </span>
        </p>
      ))}
    </section>
  );
}

function Groups({ thing }: { thing: string }) {
  const groups = useQuery({ queryKey: ['groups of', thing], queryFn: ({ signal }) => groupsOf(thing, signal), refetchInterval: 5000 });
  if (!groups.data || groups.data.length === 0) return '–';
  return groups.data.map((group, index) => (
    <span key={group}>
      {index > 0 && ', '}
      <Link className="number" href={`/groups/${encodeURIComponent(group)}`}>
        {group}
      </Link>
    </span>
  ));
}

function Head({ thing }: { thing: ThingDetail }) {
  const now = useNow();
  const { status, word } = statusOf(thing);
  const active = (thing.certificates ?? []).filter((each) => each.status.toLowerCase() === 'active');
  const ends = Math.max(0, ...active.map((each) => each.notAfterMs));
  const days = daysUntil(ends, now);
  return (
    <header className="device-head">
      <div className="device-name">
        <Button component={Link} href="/fleet" variant="subtle" size="compact-sm" leftSection={<IconArrowLeft size={16} stroke={1.5} />}>
          Fleet
        </Button>
        <h1 className="mono">{thing.thingName}</h1>
        <CopyButton text={thing.thingName} what="the name" />
        <StatusText status={status}>
          {word}
          {thing.sinceMs > 0 && (
            <span className="muted">
              for <Ago ms={thing.sinceMs} bare />
            </span>
          )}
          {thing.reason && !thing.connected && <span className="muted">· {thing.reason}</span>}
        </StatusText>
      </div>
      <dl className="device-facts">
        <Fact name="Type">
          {thing.thingTypeName ? (
            <Link className="number" href={fleetLink({ type: thing.thingTypeName })}>
              {thing.thingTypeName}
            </Link>
          ) : (
            '–'
          )}
        </Fact>
        <Fact name="Groups">
          <Groups thing={thing.thingName} />
        </Fact>
        <Fact name="Last seen">
          <LastSeen thing={thing} />
        </Fact>
        <Fact name="Address">{thing.remote ? <span className="mono">{thing.remote}</span> : '–'}</Fact>
        <Fact name="Certificate">
          {ends === 0 ? (
            '–'
          ) : days < 0 ? (
            <StatusText status="bad">expired {age(ends, now)} ago</StatusText>
          ) : days < 14 ? (
            <StatusText status="warn">
              {days} {plural(days, 'day')} left
            </StatusText>
          ) : (
            `${count(days)} days left`
          )}
        </Fact>
        {Object.entries(thing.attributes ?? {}).map(([name, value]) => (
          <Fact name={name} key={name}>
            {value}
          </Fact>
        ))}
        <Fact name="Registered">
          <Ago ms={thing.createdMs} />
        </Fact>
      </dl>
    </header>
  );
}

function Fact({ name, children }: { name: string; children: React.ReactNode }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  );
}

interface TwinProps {
  thing: string;
  fields: TwinField[];
  unitOf: (column: string) => string;
  selected: string;
  onSelect: (metric: string) => void;
}

function Twin({ thing, fields, unitOf, selected, onSelect }: TwinProps) {
  // One range query for all rows together.
  const hour = useQuery({
    queryKey: ['hour', thing],
    queryFn: async ({ signal }) => {
      const now = Math.floor(serverNow() / 1000);
      const range = raster(now - hourSeconds, now, 60);
      return { range, series: byMetric(await gateway.queryRange(allOfThing(thing), range, signal)) };
    },
    refetchInterval: 30_000,
    placeholderData: (before) => before,
  });

  return (
    <table className="grid twin-table">
      <thead>
        <tr>
          <th>Column</th>
          <th className="right">Value</th>
          <th>
            <span className="unseen">Shape of the last hour</span>
          </th>
          <th className="right">Age</th>
        </tr>
      </thead>
      <tbody>
        {fields.map((field) => {
          const series = hour.data?.series.get(field.name);
          const chartable = field.kind !== 'string';
          return (
            <tr key={field.name} aria-current={field.name === selected ? 'true' : undefined} onClick={chartable ? () => onSelect(field.name) : undefined}>
              <td className="clip twin-name">
                {chartable ? (
                  <button type="button" className="plain mono" aria-label={`Chart ${field.name}`}>
                    {field.name}
                  </button>
                ) : (
                  <span className="mono">{field.name}</span>
                )}
              </td>
              <td className="right twin-value clip">
                <Value field={field} unit={unitOf(field.name)} />
              </td>
              <td className="twin-shape">
                {series && hour.data && <Sparkline line={series} from={hour.data.range.start} to={hour.data.range.end} />}
              </td>
              <td className="right muted">
                <Ago ms={field.timeMs} bare />
              </td>
            </tr>
          );
        })}
      </tbody>
    </table>
  );
}

function Value({ field, unit }: { field: TwinField; unit: string }) {
  const text = field.kind === 'number' ? measured(Number(field.value)) : String(field.value);
  return (
    <>
      <span title={text}>{text}</span>
      <span className="unit">{field.kind === 'number' && unit}</span>
    </>
  );
}
