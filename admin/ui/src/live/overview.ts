// The gateway's live figures: one event stream for all tabs of this browser, because HTTP/1.1 gives a host six connections in all.
// The tab that holds the lock reads the stream and passes it on; when it closes, another takes over.
import { useSyncExternalStore } from 'react';
import { overview as fetchOverview } from '../api/gateway';
import type { Overview } from '../api/contract';

export interface LivePoint {
  /** Unix seconds, as charts want them. */
  at: number;
  connected: number;
  messagesPerSecond: number;
}

export interface Live {
  overview: Overview | undefined;
  /** When the figures came, by this browser's clock; 0: none yet. */
  receivedMs: number;
  /** Once a second, ascending, at most keepPoints. */
  points: LivePoint[];
}

const keepPoints = 900;
const channelName = 'muster-overview';
const savedKey = 'muster-overview-points';

let live: Live = { overview: undefined, receivedMs: 0, points: [] };
const listeners = new Set<() => void>();

function take(overview: Overview) {
  const nowMs = Date.now();
  const at = Math.round(nowMs / 1000);
  const last = live.points[live.points.length - 1];
  const points = last && at <= last.at ? live.points : [...live.points.slice(1 - keepPoints), point(at, overview)];
  live = { overview, receivedMs: nowMs, points };
  for (const listener of listeners) listener();
}

function point(at: number, overview: Overview): LivePoint {
  return { at, connected: overview.connected, messagesPerSecond: overview.messagesPerSecond };
}

/** Reads the stream until the signal is aborted. The browser reconnects a broken stream; a refused one is tried again here. */
function readStream(signal: AbortSignal, onOverview: (overview: Overview) => void) {
  let source: EventSource | undefined;
  let retry: ReturnType<typeof setTimeout>;
  const connect = () => {
    source = new EventSource('/api/overview/live');
    source.addEventListener('overview', (event) => onOverview(JSON.parse((event as MessageEvent<string>).data)));
    source.onerror = () => {
      if (source?.readyState !== EventSource.CLOSED) return;
      // Asking plainly shows why: a session that ended leads to the login from there.
      fetchOverview(signal).then(onOverview, () => undefined);
      retry = setTimeout(connect, 5000);
    };
  };
  connect();
  signal.addEventListener('abort', () => {
    clearTimeout(retry);
    source?.close();
  });
}

/** Starts following the figures; the answer stops it. */
export function followOverview(): () => void {
  const stop = new AbortController();
  restore();
  window.addEventListener('pagehide', save, { signal: stop.signal });
  const channel = new BroadcastChannel(channelName);
  channel.onmessage = (event: MessageEvent<Overview>) => take(event.data);
  const lead = (signal: AbortSignal) =>
    readStream(signal, (overview) => {
      take(overview);
      channel.postMessage(overview);
    });
  if (navigator.locks) {
    navigator.locks
      .request(channelName, { signal: stop.signal }, () => {
        lead(stop.signal);
        return new Promise<void>((resolve) => stop.signal.addEventListener('abort', () => resolve()));
      })
      .catch(() => undefined);
    // A tab that does not lead waits up to a second for the next figures: ask once.
    fetchOverview(stop.signal).then(take, () => undefined);
  } else {
    lead(stop.signal);
  }
  return () => {
    stop.abort();
    channel.close();
    save();
  };
}

function save() {
  try {
    sessionStorage.setItem(savedKey, JSON.stringify(live.points));
  } catch {
    // Storage may be full or forbidden; then a reload starts an empty chart.
  }
}

function restore() {
  try {
    const saved = JSON.parse(sessionStorage.getItem(savedKey) ?? '[]') as LivePoint[];
    const oldest = Date.now() / 1000 - keepPoints;
    if (live.points.length === 0) live = { ...live, points: saved.filter((saved) => saved.at > oldest) };
  } catch {
    live = { ...live, points: [] };
  }
}

export function useLive(): Live {
  return useSyncExternalStore(
    (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    () => live,
  );
}
