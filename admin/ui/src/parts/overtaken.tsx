// For editors of what more than one may edit: the later one is told, and decides.
import { Button } from '@mantine/core';
import { useQueryClient } from '@tanstack/react-query';
import { useState } from 'react';
import { Refusal } from '../api/client';
import { StatusText } from './glyph';

/** For an editor of what is read under this query key: whether its change came late. `undo` forgets what was written here. */
export function useOvertaken(queryKey: string[], undo: () => void) {
  const client = useQueryClient();
  const [late, setLate] = useState(false);
  const readAgain = async () => {
    await client.invalidateQueries({ queryKey });
    setLate(false);
  };
  return {
    late,
    /** Whether this is why a change was refused. */
    takes: (cause: unknown) => {
      const overtaken = cause instanceof Refusal && cause.kind === 'stale';
      if (overtaken) setLate(true);
      return overtaken;
    },
    takeTheirs: async () => {
      await readAgain();
      undo();
    },
    keepMine: readAgain,
  };
}

interface OvertakenProps {
  /** What it is: "schema". */
  what: string;
  by: ReturnType<typeof useOvertaken>;
}

/** Stands in the form of the editor. */
export function Overtaken({ what, by }: OvertakenProps) {
  if (!by.late) return null;
  const after = (act: () => Promise<void>) => async (event: React.MouseEvent) => {
    const form = event.currentTarget.closest('form');
    await act();
    form?.querySelector<HTMLElement>('.edit-add')?.focus(); // the button that had the focus is gone
  };
  return (
    <>
      <p>
        <StatusText status="warn">Not saved: somebody else has changed this {what} meanwhile. Keep yours to save it over theirs.</StatusText>
      </p>
      <div className="line">
        <Button onClick={after(by.takeTheirs)}>Show theirs</Button>
        <Button onClick={after(by.keepMine)}>Keep mine</Button>
      </div>
    </>
  );
}
