// What a person chose for this browser: scheme (kept by Mantine under schemeKey) and density.
import { useSyncExternalStore } from 'react';

export const schemeKey = 'muster-theme';
const densityKey = 'muster-density';

export type Density = 'normal' | 'compact';

const listeners = new Set<() => void>();

function read(key: string): string | null {
  try {
    return localStorage.getItem(key);
  } catch {
    return null; // storage may be forbidden; then there is the default
  }
}

/** Before the first paint: an inline script would be against the content policy. */
export function applyPreferences() {
  const root = document.documentElement;
  const scheme = read(schemeKey);
  const dark = scheme === 'dark' || (scheme !== 'light' && matchMedia('(prefers-color-scheme: dark)').matches);
  root.setAttribute('data-mantine-color-scheme', dark ? 'dark' : 'light');
  root.dataset.density = read(densityKey) === 'compact' ? 'compact' : 'normal';
}

export function setDensity(density: Density) {
  document.documentElement.dataset.density = density;
  try {
    localStorage.setItem(densityKey, density);
  } catch {
    // it holds until the page is left
  }
  for (const listener of listeners) listener();
}

export function useDensity(): Density {
  return useSyncExternalStore(
    (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    () => (document.documentElement.dataset.density === 'compact' ? 'compact' : 'normal'),
  );
}

export const rowHeight: Record<Density, number> = { normal: 32, compact: 24 };
