// Status by shape, word and color together, so that no one of them has to be seen.
import type { Thing } from '../api/contract';
import './glyph.css';

export type Status = 'ok' | 'warn' | 'bad' | 'off' | 'never' | 'busy';

const shapes: Record<Status, React.ReactNode> = {
  ok: <circle cx="6" cy="6" r="4.5" fill="currentColor" />,
  warn: <path d="M6 1.2 11.2 10.6H.8Z" fill="currentColor" />,
  bad: <rect x="1.5" y="1.5" width="9" height="9" fill="currentColor" />,
  off: <circle cx="6" cy="6" r="4" fill="none" stroke="currentColor" strokeWidth="1.5" />,
  never: <circle cx="6" cy="6" r="4" fill="none" stroke="currentColor" strokeWidth="1.5" strokeDasharray="2.1 2.1" />,
  busy: (
    <>
      <circle cx="6" cy="6" r="4" fill="none" stroke="currentColor" strokeWidth="1.5" />
      <path d="M6 2a4 4 0 0 0 0 8Z" fill="currentColor" />
    </>
  ),
};

export function Glyph({ status }: { status: Status }) {
  return (
    <svg className="glyph" data-status={status} viewBox="0 0 12 12" width="10" height="10" aria-hidden="true">
      {shapes[status]}
    </svg>
  );
}

export function StatusText({ status, children }: { status: Status; children: React.ReactNode }) {
  return (
    <span className="status" data-status={status}>
      <Glyph status={status} />
      {children}
    </span>
  );
}

export function statusOf(thing: Thing): { status: Status; word: string } {
  if (thing.connected) return { status: 'ok', word: 'connected' };
  return thing.lastSeenMs > 0 || thing.sinceMs > 0 ? { status: 'off', word: 'offline' } : { status: 'never', word: 'never seen' };
}
