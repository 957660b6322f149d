import type { Thing } from '../api/contract';
import { Ago } from './time';

/** A connected thing is seen now: its connection is kept alive even while it has nothing to say. */
export function LastSeen({ thing }: { thing: Thing }) {
  return thing.connected ? <span>now</span> : <Ago ms={thing.lastSeenMs} />;
}
