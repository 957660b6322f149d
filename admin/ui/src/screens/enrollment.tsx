// The allow-list: which keys may enroll, as which thing.
import { Button, TextInput } from '@mantine/core';
import { useInfiniteQuery, useQueryClient } from '@tanstack/react-query';
import { IconUpload } from '@tabler/icons-react';
import { useEffect, useMemo, useRef, useState } from 'react';
import { Link } from 'wouter';
import { type AllowEntry, mayManageKeys } from '../api/contract';
import * as gateway from '../api/gateway';
import { useAttempt } from '../parts/attempt';
import { Confirm } from '../parts/confirm';
import { Command, CopyButton } from '../parts/copy';
import { StatusText } from '../parts/glyph';
import { Placeholder } from '../parts/late';
import { Problem } from '../parts/problem';
import { Ago } from '../parts/time';
import { useTitle } from '../parts/title';
import { toastDone, toastError } from '../parts/toast';
import { Trash } from '../parts/trash';
import { useMe } from '../shell/session';
import { addresses } from '../text/addresses';
import { allowLines, cleanHash, isHash } from '../text/allowlist';
import { count, plural } from '../text/format';
import './enrollment.css';

const pageRows = 100;
const maxLoaded = 10_000;

export function Enrollment() {
  useTitle('Enrollment');
  const me = useMe();
  const mayWrite = mayManageKeys(me.role);
  const list = useInfiniteQuery({
    queryKey: ['allow'],
    queryFn: ({ pageParam, signal }) => gateway.allowList(pageParam, signal),
    initialPageParam: '',
    getNextPageParam: (last) => last.nextCursor || undefined,
    refetchInterval: (query) => ((query.state.data?.pages.length ?? 0) <= 2 ? 10_000 : false),
  });
  const { hasNextPage, isFetching, fetchNextPage } = list;
  const loaded = useMemo(() => list.data?.pages.flatMap((page) => page.allow) ?? [], [list.data]);
  useEffect(() => {
    // The gateway lists by key; what waits for its device can only be put first when all are here.
    if (hasNextPage && !isFetching && loaded.length < maxLoaded) void fetchNextPage();
  }, [hasNextPage, isFetching, fetchNextPage, loaded.length]);
  const [wanted, setWanted] = useState('');
  const [shown, setShown] = useState(pageRows);
  const entries = useMemo(() => {
    const text = wanted.trim().toLowerCase();
    const fits = (entry: AllowEntry) => [entry.thingName, entry.thingTypeName, entry.spkiSha256].some((part) => part.toLowerCase().includes(text));
    return loaded.filter(fits).sort((a, b) => Number(a.usedMs > 0) - Number(b.usedMs > 0) || b.addedMs - a.addedMs || a.thingName.localeCompare(b.thingName));
  }, [loaded, wanted]);
  const waiting = loaded.filter((entry) => entry.usedMs === 0).length;
  return (
    <div className="page">
      <header className="page-head">
        <h1>Enrollment</h1>
        <p className="muted">A device enrolls itself if its key is on this list. Its private key never leaves it.</p>
      </header>
      {mayWrite && <Add />}
      <section className="section enroll-list" aria-labelledby="allowed">
        <div className="section-head">
          <h2 id="allowed">Allowed keys</h2>
          {list.data && (
            <span className="muted">
              {count(loaded.length)}
              {hasNextPage && ' and more'}
              {waiting > 0 && `, ${count(waiting)} waiting for ${plural(waiting, 'its device', 'their devices')}`}
            </span>
          )}
          <span className="spread" />
          {loaded.length > 10 && (
            <TextInput
              aria-label="Filter the keys"
              placeholder="Filter by thing, type or hash"
              spellCheck={false}
              value={wanted}
              onChange={(event) => setWanted(event.currentTarget.value)}
            />
          )}
        </div>
        {list.error ? (
          <Problem error={list.error} retry={() => list.refetch()} />
        ) : !list.data ? (
          <Placeholder rows={6} />
        ) : loaded.length === 0 ? (
          <Explain />
        ) : entries.length === 0 ? (
          <p className="muted">No key matches.</p>
        ) : (
          <>
            <AllowTable entries={entries.slice(0, shown)} mayWrite={mayWrite} />
            {entries.length > shown && (
              <Button mt={12} onClick={() => setShown(shown + 5 * pageRows)}>
                Show more than {count(shown)}
              </Button>
            )}
          </>
        )}
      </section>
      {loaded.length > 0 && (
        <section className="section" aria-labelledby="how">
          <div className="section-head">
            <h2 id="how">How a device gets in</h2>
          </div>
          <Explain />
        </section>
      )}
    </div>
  );
}

function Explain() {
  return (
    <div className="enroll-how">
      <div>
        <p>On the device, make the key. This prints the line to paste above:</p>
        <Command text="muster agent key --thing lamp-1" />
      </div>
      <div>
        <p>
          Then start the agent there. It enrolls, connects and sends; <code>ca.pem</code> is from this gateway’s data folder:
        </p>
        <Command text={addresses(location).agent('lamp-1')} />
      </div>
    </div>
  );
}

function Add() {
  const client = useQueryClient();
  const file = useRef<HTMLInputElement>(null);
  const [thingName, setThingName] = useState('');
  const [thingTypeName, setThingTypeName] = useState('');
  const [hash, setHash] = useState('');
  const [busy, setBusy] = useState(false);
  const [over, setOver] = useState(false);
  const [rowErrors, setRowErrors] = useState<gateway.RowError[]>([]);
  const spkiSha256 = cleanHash(hash);
  const hashError = hash && !isHash(spkiSha256) ? 'want 64 hexadecimal digits' : undefined;

  const run = async (work: () => Promise<string>) => {
    setBusy(true);
    try {
      toastDone(await work());
      await client.invalidateQueries({ queryKey: ['allow'] });
    } catch (cause) {
      toastError(cause);
    }
    setBusy(false);
  };

  const add = () =>
    run(async () => {
      await gateway.allow([{ thingName: thingName.trim(), spkiSha256, thingTypeName: thingTypeName.trim() }]);
      setThingName('');
      setHash('');
      return `${thingName.trim()} may enroll.`;
    });

  const addCsv = (csv: () => string | Promise<string>) => {
    setRowErrors([]);
    void run(async () => {
      const answer = await gateway.allowCsv(await csv());
      setRowErrors(answer.errors);
      return `${count(answer.added)} ${plural(answer.added, 'key')} of the list may enroll.`;
    });
  };
  const addFile = (chosen: File | undefined) => chosen && addCsv(() => chosen.text());

  /** What the agent prints may be pasted into any field: one line fills the form, several are a list. */
  const onPaste = (event: React.ClipboardEvent) => {
    const lines = allowLines(event.clipboardData.getData('text'));
    if (!lines) return;
    event.preventDefault();
    if (lines.rows.length > 1) {
      addCsv(() => lines.csv);
      return;
    }
    const [row] = lines.rows;
    setThingName(row!.thingName);
    setHash(row!.spkiSha256);
    setThingTypeName(row!.thingTypeName);
  };

  return (
    <section
      className="section enroll-add"
      aria-labelledby="add"
      data-over={over}
      onDragOver={(event) => {
        event.preventDefault();
        setOver(true);
      }}
      onDragLeave={() => setOver(false)}
      onDrop={(event) => {
        event.preventDefault();
        setOver(false);
        addFile(event.dataTransfer.files[0]);
      }}
    >
      <div className="section-head">
        <h2 id="add">Allow a key</h2>
      </div>
      <form
        onPaste={onPaste}
        onSubmit={(event) => {
          event.preventDefault();
          void add();
        }}
      >
        <TextInput label="Thing" placeholder="lamp-1" spellCheck={false} value={thingName} onChange={(event) => setThingName(event.currentTarget.value)} />
        <TextInput
          label="Type, if wanted"
          placeholder="street-light"
          spellCheck={false}
          value={thingTypeName}
          onChange={(event) => setThingTypeName(event.currentTarget.value)}
        />
        <TextInput
          className="enroll-hash"
          label="SHA-256 of the public key"
          placeholder="64 hexadecimal digits"
          spellCheck={false}
          error={hashError}
          value={hash}
          onChange={(event) => setHash(event.currentTarget.value)}
          styles={{ input: { fontFamily: 'var(--mono)' } }}
        />
        <Button type="submit" variant="filled" disabled={busy || !thingName.trim() || !isHash(spkiSha256)}>
          Allow
        </Button>
        <Button leftSection={<IconUpload size={16} stroke={1.5} />} disabled={busy} onClick={() => file.current?.click()}>
          CSV file
        </Button>
        <input
          ref={file}
          type="file"
          accept=".csv,text/csv"
          hidden
          aria-label="CSV file of keys"
          onChange={(event) => {
            addFile(event.currentTarget.files?.[0]);
            event.currentTarget.value = '';
          }}
        />
      </form>
      <p className="muted enroll-hint">
        Paste what <code>muster agent key</code> prints into any field. Many at once: drop a CSV file here, with the header{' '}
        <code>thingName,spkiSha256,thingTypeName</code>.
      </p>
      {rowErrors.length > 0 && (
        <div className="note" role="alert">
          <p>
            {count(rowErrors.length)} {plural(rowErrors.length, 'row was', 'rows were')} not taken:
          </p>
          <ul className="row-errors">
            {rowErrors.slice(0, 20).map((each) => (
              <li key={each.line}>
                <span className="muted">line {each.line}</span> {each.message}
              </li>
            ))}
          </ul>
        </div>
      )}
    </section>
  );
}

function AllowTable({ entries, mayWrite }: { entries: AllowEntry[]; mayWrite: boolean }) {
  const { attempt } = useAttempt(['allow']);
  const [leaving, setLeaving] = useState<AllowEntry>();
  const remove = (entry: AllowEntry) => {
    setLeaving(undefined);
    void attempt(() => gateway.disallow(entry.spkiSha256), `The key of ${entry.thingName} is no longer allowed.`);
  };
  return (
    <>
      <table className="grid">
        <thead>
          <tr>
            <th>Thing</th>
            <th>State</th>
            <th>Type</th>
            <th>SHA-256 of the public key</th>
            <th>Added</th>
            <th>
              <span className="unseen">Actions</span>
            </th>
          </tr>
        </thead>
        <tbody>
          {entries.map((entry) => (
            <tr key={entry.spkiSha256}>
              <td className="mono">{entry.usedMs > 0 ? <Link href={`/fleet/${encodeURIComponent(entry.thingName)}`}>{entry.thingName}</Link> : entry.thingName}</td>
              <td>
                {entry.usedMs > 0 ? (
                  <StatusText status="ok">
                    enrolled <Ago ms={entry.usedMs} />
                  </StatusText>
                ) : (
                  <StatusText status="busy">waiting for the device</StatusText>
                )}
              </td>
              <td>{entry.thingTypeName || <span className="muted">–</span>}</td>
              <td className="fill">
                <span className="enroll-key">
                  <code className="clip">{entry.spkiSha256}</code>
                  <CopyButton text={entry.spkiSha256} what={`the hash of ${entry.thingName}`} />
                </span>
              </td>
              <td>
                <Ago ms={entry.addedMs} />
              </td>
              <td className="right">
                {mayWrite && <Trash label="Remove from the list" what={`Remove the key of ${entry.thingName}`} onClick={() => setLeaving(entry)} />}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
      <Confirm
        open={leaving !== undefined}
        title="Remove this key?"
        action="Remove"
        onCancel={() => setLeaving(undefined)}
        onConfirm={() => leaving && remove(leaving)}
      >
        <p>
          {leaving && leaving.usedMs > 0 ? (
            <>
              <b>{leaving.thingName}</b> keeps the certificate it has; the key cannot enroll again.
            </>
          ) : (
            <>
              The device with this key can no longer enroll as <b>{leaving?.thingName}</b>.
            </>
          )}
        </p>
      </Confirm>
    </>
  );
}
