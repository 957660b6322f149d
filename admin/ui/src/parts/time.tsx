import { useNow } from '../live/clock';
import { age, ago, moment, utc } from '../text/format';

/** A moment as its age, kept current; the hover has both zones. */
export function Ago({ ms, bare = false }: { ms: number; bare?: boolean }) {
  const now = useNow();
  if (ms <= 0) return <span className="muted">never</span>;
  return (
    <time dateTime={new Date(ms).toISOString()} title={`${moment(ms)}\n${utc(ms)}`}>
      {bare ? age(ms, now) : ago(ms, now)}
    </time>
  );
}

export function Moment({ ms }: { ms: number }) {
  return (
    <time className="mono" dateTime={new Date(ms).toISOString()} title={utc(ms)}>
      {moment(ms)}
    </time>
  );
}
