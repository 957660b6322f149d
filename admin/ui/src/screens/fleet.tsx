// The fleet list: what the URL asks for, page after page from the cursor API, only the rows in view in the DOM.
import { Button, Menu, NativeSelect, SegmentedControl } from '@mantine/core';
import { keepPreviousData, useInfiniteQuery } from '@tanstack/react-query';
import { useVirtualizer } from '@tanstack/react-virtual';
import { IconCheck, IconColumns3, IconDownload } from '@tabler/icons-react';
import { useEffect, useMemo, useRef, useState } from 'react';
import { Link, useSearchParams } from 'wouter';
import { Refusal } from '../api/client';
import { mayChangeFleet, type Thing } from '../api/contract';
import * as gateway from '../api/gateway';
import { useLive } from '../live/overview';
import { Glyph, type Status, StatusText, statusOf } from '../parts/glyph';
import { LastSeen } from '../parts/lastseen';
import { Placeholder, useLate } from '../parts/late';
import { Problem } from '../parts/problem';
import { QueryProblem } from '../parts/queryproblem';
import { useTitle } from '../parts/title';
import { toastError } from '../parts/toast';
import { typing } from '../shell/querybar';
import { useMe } from '../shell/session';
import { saveFile, toCsv } from '../text/csv';
import { count, figure, plural } from '../text/format';
import { type FleetState, type FleetView, maxColumns, readFleet, writeFleet } from '../text/urlstate';
import { rowHeight, useDensity } from '../theme/preferences';
import { wholeQuery } from '../text/query';
import { FirstDevice } from './firstdevice';
import { KeepAsGroup } from './keepasgroup';
import './fleet.css';

const pageSize = 200;

export function Fleet() {
  useTitle('Fleet');
  const [params, setParams] = useSearchParams();
  const view = readFleet(params);
  const change = (part: Partial<FleetView>) => setParams(writeFleet({ ...readFleet(new URLSearchParams(location.search)), ...part }), { replace: true });
  const { q, state, type, sort } = view;
  const list = useInfiniteQuery({
    queryKey: ['things', { q, state, type, sort }],
    queryFn: ({ pageParam, signal }) => gateway.things({ q, state, type, sort, limit: pageSize, cursor: pageParam }, signal),
    initialPageParam: '',
    getNextPageParam: (last) => last.nextCursor || undefined,
    placeholderData: keepPreviousData,
    // Few pages are kept current; a reader who scrolled far is not moved under the feet.
    refetchInterval: (query) => ((query.state.data?.pages.length ?? 0) <= 3 ? 10_000 : false),
  });
  const things = useMemo(() => list.data?.pages.flatMap((page) => page.things) ?? [], [list.data]);
  const names = useMemo(() => attributeNames(things), [things]);
  const columns = view.columns ?? names.slice(0, maxColumns);
  const first = list.data?.pages[0];
  const filtered = q !== '' || state !== '' || type !== '';

  return (
    <div className="fleet">
      <Toolbar view={view} change={change} names={names} columns={columns} loaded={things.length} first={first} />
      {list.error ? (
        list.error instanceof Refusal && list.error.at !== undefined ? (
          <QueryProblem query={q} at={list.error.at} message={list.error.message} />
        ) : (
          <Problem error={list.error} retry={() => list.refetch()} />
        )
      ) : !first ? (
        <div style={{ padding: '0 var(--gutter)' }}>
          <Placeholder rows={12} />
        </div>
      ) : things.length > 0 ? (
        <Rows
          things={things}
          total={first.total}
          columns={columns}
          sort={sort}
          onSort={(sort) => change({ sort })}
          faded={list.isPlaceholderData}
          more={list.hasNextPage}
          loadMore={() => !list.isFetching && void list.fetchNextPage()}
          viewKey={JSON.stringify([q, state, type, sort])}
        />
      ) : filtered ? (
        <div className="empty">
          <h2>No thing matches</h2>
          <p className="muted">{describe(view)}</p>
          <Button mt={12} onClick={() => change({ q: '', state: '', type: '' })}>
            Show the whole fleet
          </Button>
        </div>
      ) : (
        <FirstDevice />
      )}
    </div>
  );
}

function describe({ q, state, type }: FleetView): string {
  const parts = [q && `text “${q}”`, state && `state ${state === 'never' ? 'never seen' : state}`, type && `type ${type}`].filter(Boolean);
  return `Asked for: ${parts.join(', ')}.`;
}

/** The attributes that the loaded things have, the commonest first. */
function attributeNames(things: Thing[]): string[] {
  const seen = new Map<string, number>();
  for (const thing of things) for (const name in thing.attributes) seen.set(name, (seen.get(name) ?? 0) + 1);
  return [...seen].sort(([a, n], [b, m]) => m - n || a.localeCompare(b)).map(([name]) => name);
}

interface ToolbarProps {
  view: FleetView;
  change: (part: Partial<FleetView>) => void;
  names: string[];
  columns: string[];
  loaded: number;
  first: { total: number; tookMs: number } | undefined;
}

const states: { value: FleetState | 'all'; label: string; status?: Status }[] = [
  { value: 'all', label: 'All' },
  { value: 'connected', label: 'Connected', status: 'ok' },
  { value: 'offline', label: 'Offline', status: 'off' },
  { value: 'never', label: 'Never seen', status: 'never' },
];

function Toolbar({ view, change, names, columns, loaded, first }: ToolbarProps) {
  const { overview } = useLive();
  const mayWrite = mayChangeFleet(useMe().role);
  const types = Object.keys(overview?.byType ?? {})
    .filter(Boolean)
    .sort();
  if (view.type && !types.includes(view.type)) types.push(view.type);
  const toggle = (name: string) =>
    change({ columns: columns.includes(name) ? columns.filter((each) => each !== name) : [...columns, name].slice(-maxColumns) });

  return (
    <header className="fleet-bar">
      <h1 className="unseen">Fleet</h1>
      <SegmentedControl
        aria-label="State"
        value={view.state || 'all'}
        onChange={(value) => change({ state: value === 'all' ? '' : (value as FleetState) })}
        data={states.map(({ value, label, status }) => ({
          value,
          label: status ? (
            <span className="segment">
              <Glyph status={status} />
              {label}
            </span>
          ) : (
            label
          ),
        }))}
      />
      <NativeSelect
        className="fleet-type"
        aria-label="Type"
        value={view.type}
        onChange={(event) => change({ type: event.currentTarget.value })}
        data={[{ value: '', label: 'Every type' }, ...types.map((type) => ({ value: type, label: type }))]}
      />
      <p className="fleet-count" role="status">
        {first && (
          <>
            <b>{count(first.total)}</b> {plural(first.total, 'thing')}
            {overview && overview.things !== first.total && <span className="muted"> of {count(overview.things)}</span>}
            <span className="muted"> · {figure(first.tookMs)} ms</span>
          </>
        )}
      </p>
      <span className="spread" />
      <Menu position="bottom-end" closeOnItemClick={false}>
        <Menu.Target>
          <Button leftSection={<IconColumns3 size={16} stroke={1.5} />} disabled={names.length === 0}>
            Columns
          </Button>
        </Menu.Target>
        <Menu.Dropdown>
          <Menu.Label>Attributes, {maxColumns} at most</Menu.Label>
          {names.slice(0, 20).map((name) => (
            <Menu.Item
              key={name}
              leftSection={columns.includes(name) ? <IconCheck size={14} stroke={1.5} /> : <span className="no-tick" />}
              onClick={() => toggle(name)}
            >
              {name}
            </Menu.Item>
          ))}
          {view.columns && (
            <>
              <Menu.Divider />
              <Menu.Item onClick={() => change({ columns: undefined })}>The commonest again</Menu.Item>
            </>
          )}
        </Menu.Dropdown>
      </Menu>
      {mayWrite && <KeepAsGroup query={wholeQuery(view)} shown={first?.total} />}
      <Export view={view} total={first?.total ?? 0} disabled={loaded === 0} />
    </header>
  );
}

/** Fetches every page of the result and hands it to the browser as CSV, with all attributes. */
function Export({ view, total, disabled }: { view: FleetView; total: number; disabled: boolean }) {
  const [fetched, setFetched] = useState<number>();
  const run = async () => {
    setFetched(0);
    try {
      const all: Thing[] = [];
      let cursor = '';
      do {
        const page = await gateway.things({ q: view.q, state: view.state, type: view.type, sort: view.sort, limit: 1000, cursor });
        all.push(...page.things);
        setFetched(all.length);
        cursor = page.nextCursor;
      } while (cursor);
      const names = attributeNames(all);
      const iso = (ms: number) => (ms > 0 ? new Date(ms).toISOString() : '');
      saveFile(
        'fleet.csv',
        'text/csv',
        toCsv([
          ['thing', 'state', 'lastSeen', 'since', 'type', 'remote', 'reason', ...names],
          ...all.map((thing) => [
            thing.thingName,
            statusOf(thing).word,
            iso(thing.lastSeenMs),
            iso(thing.sinceMs),
            thing.thingTypeName,
            thing.remote,
            thing.reason,
            ...names.map((name) => thing.attributes?.[name] ?? ''),
          ]),
        ]),
      );
    } catch (cause) {
      toastError(cause);
    }
    setFetched(undefined);
  };
  return (
    <Button leftSection={<IconDownload size={16} stroke={1.5} />} disabled={disabled || fetched !== undefined} onClick={run}>
      {fetched === undefined ? 'Export CSV' : `${count(fetched)} of ${count(total)}`}
    </Button>
  );
}

interface RowsProps {
  things: Thing[];
  total: number;
  columns: string[];
  sort: FleetView['sort'];
  onSort: (sort: FleetView['sort']) => void;
  faded: boolean;
  more: boolean;
  loadMore: () => void;
  /** Another view starts at its top. */
  viewKey: string;
}

function Rows({ things, total, columns, sort, onSort, faded, more, loadMore, viewKey }: RowsProps) {
  const scroller = useRef<HTMLDivElement>(null);
  const density = useDensity();
  const rows = useVirtualizer({
    count: things.length + (more ? 1 : 0),
    getScrollElement: () => scroller.current,
    estimateSize: () => rowHeight[density],
    overscan: 12,
  });
  const visible = rows.getVirtualItems();
  const lastVisible = visible[visible.length - 1]?.index ?? 0;
  const late = useLate(faded);

  useEffect(() => {
    rows.measure();
  }, [density, rows]);
  useEffect(() => {
    // Not as the effect's value: scrollTo answers with a promise in newer browsers.
    scroller.current?.scrollTo({ top: 0 });
  }, [viewKey]);
  useEffect(() => {
    if (more && lastVisible >= things.length - pageSize / 4) loadMore();
  });

  // j and k walk the rows by moving the focus, so that Enter opens and a screen reader follows. A row that is not drawn yet gets it when it is; until
  // then the next key counts from that row.
  const wanted = useRef<number>(undefined);
  const focusWanted = () => {
    const link = wanted.current !== undefined && scroller.current?.querySelector<HTMLElement>(`[data-row="${wanted.current}"] a`);
    if (!link) return;
    wanted.current = undefined;
    link.focus({ preventScroll: true });
  };
  useEffect(focusWanted);
  useEffect(() => {
    wanted.current = undefined;
  }, [viewKey]);
  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      if ((event.key !== 'j' && event.key !== 'k') || event.ctrlKey || event.metaKey || event.altKey || typing(event.target)) return;
      event.preventDefault();
      const focused = Number((document.activeElement as HTMLElement | null)?.closest<HTMLElement>('[data-row]')?.dataset.row ?? -1);
      wanted.current = Math.max(0, Math.min(things.length - 1, (wanted.current ?? focused) + (event.key === 'j' ? 1 : -1)));
      rows.scrollToIndex(wanted.current, { align: 'auto' });
      focusWanted();
    };
    document.addEventListener('keydown', onKey);
    return () => document.removeEventListener('keydown', onKey);
  }, [rows, things.length]);

  const template = `minmax(150px, 1.6fr) 124px 96px minmax(96px, 1fr) ${columns.map(() => 'minmax(72px, 1fr)').join(' ')} minmax(120px, 1.6fr)`;
  return (
    <div ref={scroller} className="fleet-list" data-faded={late} tabIndex={-1}>
      <div
        role="table"
        aria-label="Things"
        aria-rowcount={total + 1}
        aria-colcount={5 + columns.length}
        style={{ '--template': template } as React.CSSProperties}
      >
        <div role="rowgroup" className="fleet-head">
          <div role="row" aria-rowindex={1} className="fleet-row">
            <SortHeader label="Thing" on={sort === 'name'} order="ascending" onSort={() => onSort('name')} />
            <span role="columnheader">State</span>
            <SortHeader label="Last seen" on={sort === 'lastSeen'} order="descending" onSort={() => onSort('lastSeen')} />
            <span role="columnheader">Type</span>
            {columns.map((name) => (
              <span role="columnheader" key={name} className="clip">
                {name}
              </span>
            ))}
            <span role="columnheader">Reason</span>
          </div>
        </div>
        <div role="rowgroup" className="fleet-body" style={{ height: rows.getTotalSize() }}>
          {visible.map((item) => (
            <div
              role="row"
              aria-rowindex={item.index + 2}
              key={item.key}
              data-row={item.index}
              className="fleet-row"
              style={{ transform: `translateY(${item.start}px)` }}
            >
              {things[item.index] ? <Row thing={things[item.index]!} columns={columns} /> : <span role="cell" className="muted">Loading more</span>}
            </div>
          ))}
        </div>
      </div>
    </div>
  );
}

function SortHeader({ label, on, order, onSort }: { label: string; on: boolean; order: 'ascending' | 'descending'; onSort: () => void }) {
  return (
    <span role="columnheader" aria-sort={on ? order : 'none'}>
      <button type="button" className="plain sort" onClick={onSort}>
        {label}
        <span aria-hidden="true">{on ? (order === 'ascending' ? '↑' : '↓') : ''}</span>
      </button>
    </span>
  );
}

function Row({ thing, columns }: { thing: Thing; columns: string[] }) {
  const { status, word } = statusOf(thing);
  return (
    <>
      <span role="cell" className="clip">
        <Link href={`/fleet/${encodeURIComponent(thing.thingName)}`} className="row-link mono">
          {thing.thingName}
        </Link>
      </span>
      <span role="cell">
        <StatusText status={status}>{word}</StatusText>
      </span>
      <span role="cell">
        <LastSeen thing={thing} />
      </span>
      <span role="cell" className="clip">
        {thing.thingTypeName || <span className="muted">–</span>}
      </span>
      {columns.map((name) => (
        <span role="cell" key={name} className="clip">
          {thing.attributes?.[name] ?? <span className="muted">–</span>}
        </span>
      ))}
      <span role="cell" className="clip muted" title={thing.reason}>
        {thing.reason}
      </span>
    </>
  );
}
