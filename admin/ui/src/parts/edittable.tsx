import { Button } from '@mantine/core';
import { IconPlus } from '@tabler/icons-react';
import { useLayoutEffect, useRef } from 'react';
import type { Kept } from './rows';
import { Trash } from './trash';
import './edittable.css';

export interface Cell<R> {
  row: Kept<R>;
  /** For those who do not see the column: "Unit of temp_c". */
  label: string;
  error: string | undefined;
  change: (part: Partial<R>) => void;
}

export interface EditColumn<R> {
  field: keyof R & string;
  label: string;
  /** In pixels. */
  width: number;
  /** What is shown to those who may not change it. */
  text: (row: R) => React.ReactNode;
  edit: (cell: Cell<R>) => React.ReactNode;
}

interface EditTableProps<R extends { name: string }> {
  /** What a row is: "attribute". */
  what: string;
  label: string;
  columns: EditColumn<R>[];
  rows: Kept<R>[];
  mayWrite: boolean;
  errorOf: (row: Kept<R>, field: keyof R & string) => string | undefined;
  change: (id: number, part: Partial<R>) => void;
  remove: (id: number) => void;
  add: () => void;
}

/** A table whose rows are written in place, added and removed; the first column is the name. The focus is where the work goes on. */
export function EditTable<R extends { name: string }>({ what, label, columns, rows, mayWrite, errorOf, change, remove, add }: EditTableProps<R>) {
  const place = useRef<HTMLDivElement>(null);
  const next = useRef<string>(undefined); // what gets the focus, once it is there
  // In the layout phase of the very change: a later effect of an earlier change would find the table as it was.
  useLayoutEffect(() => {
    const target = next.current && place.current?.querySelector<HTMLElement>(next.current);
    if (!target) return;
    next.current = undefined;
    target.focus();
  });
  return (
    <div ref={place}>
      {rows.length > 0 && (
        <div className="wide-table edit-place" tabIndex={0} role="region" aria-label={label}>
          <table className={mayWrite ? 'grid edit-table' : 'grid'} style={{ width: mayWrite ? columns.reduce((sum, column) => sum + column.width, 26) : undefined }}>
            <thead>
              <tr>
                {columns.map((column) => (
                  <th key={column.field} style={{ width: column.width }}>
                    {column.label}
                  </th>
                ))}
                {mayWrite && (
                  <th style={{ width: 26 }}>
                    <span className="unseen">Actions</span>
                  </th>
                )}
              </tr>
            </thead>
            <tbody>
              {rows.map((row, index) => (
                <tr key={row.id} data-id={row.id}>
                  {columns.map((column) => (
                    <td key={column.field}>
                      {mayWrite
                        ? column.edit({
                            row,
                            label: column.field === 'name' ? `${column.label} ${index + 1}` : `${column.label} of ${row.name.trim() || `${what} ${index + 1}`}`,
                            error: errorOf(row, column.field),
                            change: (part) => change(row.id, part),
                          })
                        : column.text(row)}
                    </td>
                  ))}
                  {mayWrite && (
                    <td className="right">
                      <Trash
                        what={`Remove the ${what} ${row.name.trim() || index + 1}`}
                        onClick={() => {
                          const following = rows[index + 1] ?? rows[index - 1];
                          next.current = following ? `tr[data-id="${following.id}"] td:last-child button` : '.edit-add';
                          remove(row.id);
                        }}
                      />
                    </td>
                  )}
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
      {mayWrite && (
        <Button
          className="edit-add"
          mt={12}
          leftSection={<IconPlus size={14} stroke={1.5} />}
          onClick={() => {
            next.current = `tbody tr:nth-child(${rows.length + 1}) input`;
            add();
          }}
        >
          Add {what === 'attribute' ? 'an' : 'a'} {what}
        </Button>
      )}
    </div>
  );
}

interface SaveLineProps {
  changed: boolean;
  /** Nothing is in the way of saving. */
  ready: boolean;
  undo: () => void;
}

/** Below what is edited in a form: save it, or take all of it back. */
export function SaveLine({ changed, ready, undo }: SaveLineProps) {
  return (
    <div className="line">
      <Button type="submit" variant="filled" disabled={!changed || !ready}>
        Save
      </Button>
      {changed && <Button onClick={undo}>Undo</Button>}
    </div>
  );
}
