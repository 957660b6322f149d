// The attributes that things of a type must and may have: a row for each, and what saving them would mean for the things that there are.
import { NativeSelect, TextInput } from '@mantine/core';
import { useDebouncedValue } from '@mantine/hooks';
import { keepPreviousData, useQuery } from '@tanstack/react-query';
import { useEffect, useMemo } from 'react';
import { sentence } from '../api/client';
import * as api from '../api/schemas';
import { useAttempt } from '../parts/attempt';
import { type EditColumn, EditTable, SaveLine } from '../parts/edittable';
import { StatusText } from '../parts/glyph';
import { Overtaken, useOvertaken } from '../parts/overtaken';
import { nameProblem, useRows } from '../parts/rows';
import { type AttributeRow, attributeRows, attributeTypes, emptyAttribute, example, placeInSchema, schemaOf } from '../text/schema';
import { SchemaEffect } from './schemaeffect';

interface SchemaEditorProps {
  type: string;
  stored: api.StoredSchema;
  mayWrite: boolean;
  onChanged: (changed: boolean) => void;
}

export function SchemaEditor({ type, stored, mayWrite, onChanged }: SchemaEditorProps) {
  const beginning = useMemo(() => attributeRows(stored), [stored]);
  const { rows, written, changed, change, remove, add, undo } = useRows(beginning, emptyAttribute);
  useEffect(() => onChanged(changed), [changed, onChanged]);
  const { attempt, busy } = useAttempt(['schema', type]);
  const overtaken = useOvertaken(['schema', type], undo);

  const wrong = written.some((row) => nameProblem(row, written));
  const document = JSON.stringify(schemaOf(written));
  const [asked] = useDebouncedValue(document, 300);
  const check = useQuery({
    queryKey: ['schema check', type, asked],
    queryFn: ({ signal }) => api.checkSchema(type, JSON.parse(asked) as api.Schema, signal),
    enabled: written.length > 0 && !wrong && asked === document,
    placeholderData: keepPreviousData,
  });
  const current = asked === document && !check.isPlaceholderData;
  const refusal = !wrong && current && check.error ? placeInSchema(check.error.message, written) : undefined;

  const save = async () => {
    const done = written.length > 0 ? 'Saved. New things, and those that change, are held to it.' : 'Saved: the type has no schema now.';
    if (await attempt(() => api.putSchema(type, schemaOf(written), stored), done, overtaken.takes)) undo();
  };
  return (
    <section className="section" aria-labelledby="attributes">
      <div className="section-head">
        <h2 id="attributes">Attributes</h2>
      </div>
      {rows.length === 0 && (
        <p className="prose">
          A schema says which attributes the things of a type have, so that a missing or a wrong one is refused, such as <code>watt</code>: a number, required, in W.
        </p>
      )}
      <form
        aria-label="Schema of the attributes"
        onSubmit={(event) => {
          event.preventDefault();
          void save();
        }}
      >
        <EditTable
          what="attribute"
          label="The attributes"
          columns={columns}
          rows={rows}
          mayWrite={mayWrite}
          errorOf={(row, field) => {
            if (field === 'name' && written.includes(row) && nameProblem(row, written)) return nameProblem(row, written);
            return refusal && refusal.row === row.name && refusal.field === field ? refusal.message : undefined;
          }}
          change={change}
          remove={remove}
          add={add}
        />
        <div className="schema-effect" role="status">
          {refusal ? (
            <p>
              <StatusText status="bad">{refusal.row === undefined ? sentence(refusal.message) : `The attribute ${refusal.row.trim()} is not right yet.`}</StatusText>
            </p>
          ) : changed && written.length === 0 ? (
            <p>Without attributes the type has no schema: its things may have any.</p>
          ) : (
            written.length > 0 && !wrong && check.data && <SchemaEffect type={type} rows={written} check={check.data} draft={changed} />
          )}
        </div>
        <div className="schema-effect" role="alert">
          <Overtaken what="schema" by={overtaken} />
        </div>
        {mayWrite && !overtaken.late && (rows.length > 0 || changed) && (
          <SaveLine changed={changed} ready={!busy && !wrong && (written.length === 0 || (current && check.isSuccess))} undo={undo} />
        )}
      </form>
    </section>
  );
}

type TextField = 'name' | 'default' | 'allowed' | 'unit';

const text = (field: TextField, placeholder?: (row: AttributeRow) => string): EditColumn<AttributeRow>['edit'] =>
  function Field({ row, label, error, change }) {
    return (
      <TextInput
        aria-label={label}
        classNames={field === 'name' ? { input: 'mono' } : undefined}
        spellCheck={false}
        autoComplete="off"
        placeholder={placeholder?.(row)}
        error={error}
        value={row[field]}
        onChange={(event) => change({ [field]: event.currentTarget.value })}
      />
    );
  };

const columns: EditColumn<AttributeRow>[] = [
  {
    field: 'name',
    label: 'Attribute',
    width: 180,
    text: (row) => <span className="mono">{row.name}</span>,
    edit: text('name'),
  },
  {
    field: 'type',
    label: 'Type',
    width: 108,
    text: (row) => row.type,
    edit: ({ row, label, error, change }) => (
      <NativeSelect
        aria-label={label}
        error={error}
        data={attributeTypes}
        value={row.type}
        onChange={(event) => change({ type: event.currentTarget.value as AttributeRow['type'] })}
      />
    ),
  },
  {
    field: 'required',
    label: 'Required',
    width: 80,
    text: (row) => (row.required ? 'required' : ''),
    edit: ({ row, label, change }) => (
      <span className="edit-check">
        <input type="checkbox" aria-label={label} checked={row.required} onChange={(event) => change({ required: event.currentTarget.checked })} />
      </span>
    ),
  },
  { field: 'default', label: 'Default', width: 180, text: (row) => row.default, edit: text('default', (row) => (example[row.type] ? `none; or: ${example[row.type]}` : 'none')) },
  { field: 'allowed', label: 'Allowed values', width: 220, text: (row) => row.allowed, edit: text('allowed', () => 'any; or: ulm oslo') },
  { field: 'unit', label: 'Unit', width: 90, text: (row) => row.unit, edit: text('unit') },
];
