import { useEffect } from 'react';

/** Names the tab: "Fleet · muster". */
export function useTitle(title: string) {
  useEffect(() => {
    document.title = `${title} · muster`;
  }, [title]);
}
