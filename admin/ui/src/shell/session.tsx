// Who is signed in. Without a session every path leads to the login (or the first setup), and from there back to itself.
import { useQuery, useQueryClient } from '@tanstack/react-query';
import { createContext, useContext, useEffect } from 'react';
import { Redirect, useLocation } from 'wouter';
import { onSignedOut, Refusal } from '../api/client';
import type { Me } from '../api/contract';
import * as gateway from '../api/gateway';
import { Placeholder } from '../parts/late';
import { Problem } from '../parts/problem';
import { codeOf } from '../text/urlstate';

const Session = createContext<Me | undefined>(undefined);

export function useMe(): Me {
  const me = useContext(Session);
  if (!me) throw new Error('BUG: used outside of a session');
  return me;
}

/** The answer to "who am I": a person, or "setup" or "login" with what to do first. */
async function whoAmI(): Promise<Me | 'setup' | 'login'> {
  try {
    return await gateway.me();
  } catch (cause) {
    if (!(cause instanceof Refusal) || cause.status !== 401) throw cause;
    const { needed } = await gateway.setupNeeded();
    return needed ? 'setup' : 'login';
  }
}

export function RequireSession({ children }: { children: React.ReactNode }) {
  const client = useQueryClient();
  const [path] = useLocation();
  const session = useQuery({ queryKey: ['me'], queryFn: whoAmI, staleTime: Infinity, retry: false });

  useEffect(() => onSignedOut(() => client.setQueryData(['me'], 'login')), [client]);
  const signedIn = typeof session.data === 'object';
  useEffect(() => {
    // A one-time code is of no use to someone signed in, and should not stay in the history.
    if (signedIn && codeOf(location.hash)) history.replaceState(history.state, '', location.pathname + location.search);
  }, [signedIn]);

  if (session.error) return <Problem error={session.error} retry={() => session.refetch()} />;
  if (!session.data) return <Placeholder rows={4} />;
  if (session.data === 'setup') return <Redirect to={`/setup${location.hash}`} replace />;
  if (session.data === 'login') {
    const target = path + location.search;
    return <Redirect to={`/login${target === '/' ? '' : `?to=${encodeURIComponent(target)}`}${codeOf(location.hash) ? location.hash : ''}`} replace />;
  }
  return <Session value={session.data}>{children}</Session>;
}
