// What becomes of the telemetry of a type's things: names, units and scales, a row for each column that needs one.
import { NativeSelect, TextInput } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { useEffect, useId, useMemo, useState } from 'react';
import { Refusal, sentence } from '../api/client';
import * as prometheus from '../api/prometheus';
import * as api from '../api/schemas';
import { useAttempt } from '../parts/attempt';
import { type Cell, type EditColumn, EditTable, SaveLine } from '../parts/edittable';
import { StatusText } from '../parts/glyph';
import { Overtaken, useOvertaken } from '../parts/overtaken';
import { nameProblem, useRows } from '../parts/rows';
import { Ago } from '../parts/time';
import { ofType } from '../text/promql';
import { type ColumnRow, columnRows, emptyColumn, factorProblem, placeInReadings, readingsOf } from '../text/readings';
import type { Placed } from '../text/schema';

interface ReadingsEditorProps {
  type: string;
  stored: api.StoredReadings;
  mayWrite: boolean;
  onChanged: (changed: boolean) => void;
}

export function ReadingsEditor({ type, stored, mayWrite, onChanged }: ReadingsEditorProps) {
  const beginning = useMemo(() => columnRows(stored), [stored]);
  const { rows, written, ...table } = useRows(beginning, emptyColumn);
  const kept = stored.unknown;
  const [unknown, setUnknown] = useState<api.Readings['unknown']>();
  const others = unknown ?? kept;
  const changed = table.changed || others !== kept;
  useEffect(() => onChanged(changed), [changed, onChanged]);
  const { attempt, busy } = useAttempt(['readings', type], ['metadata']);
  const [refusal, setRefusal] = useState<Placed<keyof ColumnRow>>();
  const none = written.length === 0 && others === 'keep';

  // What was refused stands until something else is written.
  const document = JSON.stringify(readingsOf(written, others));
  useEffect(() => setRefusal(undefined), [document]);

  const problemOf = (row: ColumnRow, field: keyof ColumnRow) => {
    if (!written.some((each) => each === row)) return undefined;
    if (field === 'name') return nameProblem(row, written);
    return !row.drop && (field === 'scale' || field === 'offset') ? factorProblem(row[field]) : undefined;
  };
  const wrong = written.some((row) => (['name', 'scale', 'offset'] as const).some((field) => problemOf(row, field)));
  const undo = () => {
    table.undo();
    setUnknown(undefined);
    setRefusal(undefined);
  };
  const overtaken = useOvertaken(['readings', type], undo);
  const save = async () => {
    const done = none ? 'Saved: columns are kept as they come.' : 'Saved. It holds from each device’s next message on.';
    const what = () => api.putReadings(type, readingsOf(written, others), stored);
    const takes = (cause: unknown) => {
      if (overtaken.takes(cause)) return true;
      if (!(cause instanceof Refusal) || cause.status !== 400) return false;
      setRefusal(placeInReadings(cause.message, written));
      return true;
    };
    if (await attempt(what, done, takes)) undo();
  };
  return (
    <section className="section" aria-labelledby="telemetry">
      <div className="section-head">
        <h2 id="telemetry">Telemetry</h2>
        {stored.version > 0 && (
          <span className="muted">
            version {stored.version}, <Ago ms={stored.changedMs} />
          </span>
        )}
      </div>
      {rows.length === 0 && (
        <p className="prose">
          A telemetry schema gives what devices send a name and a unit, such as <code>t</code>, sent in tenths: renamed to <code>temp_c</code>, scale 0.1, unit °C.
        </p>
      )}
      <form
        aria-label="Schema of the telemetry"
        onSubmit={(event) => {
          event.preventDefault();
          void save();
        }}
      >
        <Sent type={type} mayWrite={mayWrite}>
          {(list) => (
            <EditTable
              what="column"
              label="The columns of telemetry"
              columns={columnsWith(list)}
              rows={rows}
              mayWrite={mayWrite}
              errorOf={(row, field) => problemOf(row, field) ?? (refusal && refusal.row === row.name && refusal.field === field ? refusal.message : undefined)}
              change={table.change}
              remove={table.remove}
              add={table.add}
            />
          )}
        </Sent>
        {mayWrite ? (
          <div className="line">
            <NativeSelect
              label="Columns that are not in the table"
              value={others}
              data={[
                { value: 'keep', label: 'are kept as they come' },
                { value: 'drop', label: 'are dropped' },
              ]}
              onChange={(event) => setUnknown(event.currentTarget.value as api.Readings['unknown'])}
            />
          </div>
        ) : (
          stored.version > 0 && <p className="schema-effect muted">Other columns are {others === 'keep' ? 'kept as they come' : 'dropped'}.</p>
        )}
        <div className="schema-effect" role="alert">
          <Overtaken what="schema" by={overtaken} />
          {refusal && (
            <p>
              <StatusText status="bad">{refusal.row === undefined ? sentence(refusal.message) : `Not saved: the column ${refusal.row.trim()} is not right yet.`}</StatusText>
            </p>
          )}
        </div>
        {mayWrite && !overtaken.late && (rows.length > 0 || changed) && <SaveLine changed={changed} ready={!busy && !wrong && !refusal} undo={undo} />}
      </form>
    </section>
  );
}

/** The columns that things of the type have sent, offered where a column is named; children get the id of the list. */
function Sent({ type, mayWrite, children }: { type: string; mayWrite: boolean; children: (list: string) => React.ReactNode }) {
  const id = useId();
  const names = useQuery({
    queryKey: ['sent', type],
    queryFn: ({ signal }) => prometheus.labelValues('__name__', ofType(type), signal),
    enabled: mayWrite,
    staleTime: 60_000,
  });
  return (
    <>
      <datalist id={id}>
        {(names.data ?? []).map((name) => (
          <option key={name} value={name.replace(/_info$/, '')} />
        ))}
      </datalist>
      {children(id)}
    </>
  );
}

type TextField = 'name' | 'rename' | 'scale' | 'offset' | 'unit' | 'description';

function columnsWith(list: string): EditColumn<ColumnRow>[] {
  const field = (name: TextField, { row, label, error, change }: Cell<ColumnRow>, more: { placeholder?: string; list?: string; mono?: boolean } = {}) => {
    const { mono, ...rest } = more;
    const off = row.drop && name !== 'name' && name !== 'description';
    return (
      <TextInput
        {...rest}
        aria-label={label}
        classNames={mono ? { input: 'mono' } : undefined}
        spellCheck={false}
        autoComplete="off"
        disabled={off}
        error={error}
        value={off ? '' : row[name]}
        onChange={(event) => change({ [name]: event.currentTarget.value })}
      />
    );
  };
  return [
    {
      field: 'name',
      label: 'Column',
      width: 180,
      text: (row) => <span className="mono">{row.name}</span>,
      edit: (cell) => field('name', cell, { list, mono: true }),
    },
    {
      field: 'drop',
      label: 'Drop',
      width: 56,
      text: (row) => (row.drop ? 'dropped' : ''),
      edit: ({ row, label, change }) => (
        <span className="edit-check">
          <input type="checkbox" aria-label={label} checked={row.drop} onChange={(event) => change({ drop: event.currentTarget.checked })} />
        </span>
      ),
    },
    {
      field: 'rename',
      label: 'Rename to',
      width: 180,
      text: (row) => <span className="mono">{row.rename}</span>,
      edit: (cell) => field('rename', cell, { placeholder: cell.row.drop ? undefined : cell.row.name.trim(), mono: true }),
    },
    { field: 'scale', label: 'Scale', width: 96, text: (row) => row.scale, edit: (cell) => field('scale', cell, { placeholder: cell.row.drop ? undefined : '1' }) },
    { field: 'offset', label: 'Offset', width: 96, text: (row) => row.offset, edit: (cell) => field('offset', cell, { placeholder: cell.row.drop ? undefined : '0' }) },
    { field: 'unit', label: 'Unit', width: 90, text: (row) => row.unit, edit: (cell) => field('unit', cell) },
    { field: 'description', label: 'Description', width: 220, text: (row) => row.description, edit: (cell) => field('description', cell) },
  ];
}
