// A question to the fleet becomes a dynamic group: first what it would have, then its name.
import { Button, Popover, TextInput } from '@mantine/core';
import { useQuery, useQueryClient } from '@tanstack/react-query';
import { IconBookmarkPlus } from '@tabler/icons-react';
import { useState } from 'react';
import { useLocation } from 'wouter';
import { sentence } from '../api/client';
import * as api from '../api/groups';
import { StatusText } from '../parts/glyph';
import { toastError } from '../parts/toast';
import { count, plural } from '../text/format';

/** query is what the list shows; shown, how many things it found. */
export function KeepAsGroup({ query, shown }: { query: string; shown: number | undefined }) {
  const [open, setOpen] = useState(false);
  return (
    <Popover position="bottom-end" width={360} opened={open} onChange={setOpen} trapFocus withRoles={false}>
      <Popover.Target>
        <Button leftSection={<IconBookmarkPlus size={16} stroke={1.5} />} disabled={query === ''} aria-expanded={open} onClick={() => setOpen(!open)}>
          Keep as group
        </Button>
      </Popover.Target>
      <Popover.Dropdown>
        <Form query={query} shown={shown} />
      </Popover.Dropdown>
    </Popover>
  );
}

function Form({ query, shown }: { query: string; shown: number | undefined }) {
  const client = useQueryClient();
  const [, navigate] = useLocation();
  const [name, setName] = useState('');
  const preview = useQuery({
    queryKey: ['preview', query],
    queryFn: ({ signal }) => api.preview(query, '', signal),
    refetchInterval: 2000,
    retry: false,
  });
  const keep = async () => {
    try {
      await api.makeDynamicGroup(name.trim(), query);
      await client.invalidateQueries({ queryKey: ['groups'] });
      navigate(`/groups/${encodeURIComponent(name.trim())}`);
    } catch (cause) {
      toastError(cause);
    }
  };
  return (
    <form
      className="keep"
      aria-label="Keep as a dynamic group"
      onSubmit={(event) => {
        event.preventDefault();
        void keep();
      }}
    >
      <p className="mono keep-query">{query}</p>
      <p role="status">
        {preview.error ? (
          <StatusText status="bad">{sentence(preview.error)}</StatusText>
        ) : (
          preview.data && (
            <>
              <b>{count(preview.data.total)}</b> {plural(preview.data.total, 'thing')} now
              {preview.data.things.length > 0 && <span className="muted">: {preview.data.things.map((thing) => thing.thingName).join(', ')}</span>}
              {preview.data.total > preview.data.things.length && preview.data.things.length > 0 && <span className="muted">, …</span>}
            </>
          )
        )}
      </p>
      {preview.data && shown !== undefined && shown !== preview.data.total && (
        <p className="muted">
          The list shows {count(shown)}: there a bare word is found inside names, too. In a group it must be a whole word; write <code>thingName:*word*</code>.
        </p>
      )}
      <TextInput label="Name of the group" spellCheck={false} data-autofocus value={name} onChange={(event) => setName(event.currentTarget.value)} />
      <Button type="submit" variant="filled" disabled={!name.trim() || !preview.data}>
        Keep
      </Button>
    </form>
  );
}
