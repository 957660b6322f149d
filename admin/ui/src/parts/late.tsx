import { useEffect, useState } from 'react';
import './late.css';

/** True once something has been awaited for 300 ms: what comes sooner needs no placeholder. */
export function useLate(waiting: boolean): boolean {
  const [late, setLate] = useState(false);
  useEffect(() => {
    if (!waiting) {
      setLate(false);
      return;
    }
    const timer = setTimeout(() => setLate(true), 300);
    return () => clearTimeout(timer);
  }, [waiting]);
  return waiting && late;
}

/** Gray lines where rows will be, after 300 ms of waiting. */
export function Placeholder({ rows, waiting = true }: { rows: number; waiting?: boolean }) {
  const late = useLate(waiting);
  if (!late) return null;
  return (
    <div role="status" aria-label="Loading" className="placeholder">
      {Array.from({ length: rows }, (_, row) => (
        <span key={row} style={{ width: `${70 - ((row * 17) % 40)}%` }} />
      ))}
    </div>
  );
}
