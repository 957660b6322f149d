import { useQueryClient } from '@tanstack/react-query';
import { useState } from 'react';
import { toastDone, toastError } from './toast';

/**
 * Does what was asked for and says how it went: true when it is done. A sentence is shown, if there is one. `takes` answers whether it shows a
 * refusal itself, where it belongs.
 */
export type Attempt = (what: () => Promise<unknown>, done?: string, takes?: (cause: unknown) => boolean) => Promise<boolean>;

/** For changes of what is read under these query keys: it is read again after each that was done. `busy` while one is on its way. */
export function useAttempt(...changed: string[][]): { attempt: Attempt; busy: boolean } {
  const client = useQueryClient();
  const [busy, setBusy] = useState(false);
  const attempt: Attempt = async (what, done, takes) => {
    setBusy(true);
    try {
      await what();
      if (done) toastDone(done);
      await Promise.all(changed.map((queryKey) => client.invalidateQueries({ queryKey })));
      return true;
    } catch (cause) {
      if (!takes?.(cause)) toastError(cause);
      return false;
    } finally {
      setBusy(false);
    }
  };
  return { attempt, busy };
}
