import { useMemo, useState } from 'react';

/** A row while it is edited: it is the same one under another name. */
export type Kept<R> = R & { id: number };

/** Rows that are being changed, over those that are stored. `empty` is a row that nobody wrote into yet: it counts for nothing. */
export function useRows<R extends { name: string }>(stored: R[], empty: R) {
  const [draft, setDraft] = useState<Kept<R>[]>();
  const beginning = useMemo(() => stored.map((row, id) => ({ ...row, id })), [stored]);
  const rows = draft ?? beginning;
  const written = rows.filter((row) => !same([row], [empty]));
  return {
    rows,
    written,
    changed: draft !== undefined && !same(written, stored),
    change: (id: number, part: Partial<R>) => setDraft(rows.map((row) => (row.id === id ? { ...row, ...part } : row))),
    remove: (id: number) => setDraft(rows.filter((row) => row.id !== id)),
    add: () => setDraft([...rows, { ...empty, id: Math.max(stored.length, ...rows.map((row) => row.id + 1)) }]),
    undo: () => setDraft(undefined),
  };
}

/** Whether these are the same rows, in any order. */
function same(a: { name: string }[], b: { name: string }[]): boolean {
  const text = (rows: { name: string }[]) =>
    rows
      .map((row) => JSON.stringify({ ...row, id: undefined }))
      .sort()
      .join();
  return text(a) === text(b);
}

/** What is wrong with the name of a row among the others, before anybody is asked. */
export function nameProblem(row: { name: string }, rows: { name: string }[]): string | undefined {
  const name = row.name.trim();
  if (!name) return 'a name is missing';
  return rows.find((other) => other.name.trim() === name) === row ? undefined : 'it is in the table already';
}
