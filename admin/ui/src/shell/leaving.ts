// The way from one page to another, which a page with unsaved work may hold up. One page is shown at a time, so there is one guard.
import type { ComponentProps } from 'react';
import type { Router } from 'wouter';

/** Is told how to go on; it may call that later, or never. */
type Ask = (go: () => void) => void;

let guard: { ask: Ask; href: string; path: string } | undefined;

/** Asks before the present page is left by a link or the browser's buttons. Returns how to take that away again. */
export function guardLeaving(ask: Ask): () => void {
  const own = { ask, href: location.href, path: location.pathname };
  guard = own;
  return () => {
    if (guard === own) guard = undefined;
  };
}

/** For the router: every link and every change of the address passes here, only the browser's own buttons do not. */
export const aroundNav: NonNullable<ComponentProps<typeof Router>['aroundNav']> = (navigate, to, options) => {
  const go = () => navigate(to, options);
  if (guard && new URL(to, location.href).pathname !== guard.path) guard.ask(go);
  else go();
};

// From the start, to hear of it before the router does: where that draws another page first, there is nobody left to ask.
addEventListener('popstate', (event) => {
  if (!guard || location.pathname === guard.path) return;
  // The browser has gone already. Back at once; then the entry before this one is where it wanted to go.
  event.stopImmediatePropagation();
  history.pushState(null, '', guard.href);
  guard.ask(() => {
    guard = undefined;
    history.back();
  });
});
