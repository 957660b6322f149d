// Access keys, for AWS's CLI and SDKs.
import { ActionIcon, Button, NativeSelect, Tooltip } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { IconTrash } from '@tabler/icons-react';
import { useState } from 'react';
import { type AccessKey, type Role, roles } from '../api/contract';
import * as gateway from '../api/gateway';
import { useAttempt } from '../parts/attempt';
import { Confirm } from '../parts/confirm';
import { Command } from '../parts/copy';
import { StatusText } from '../parts/glyph';
import { Placeholder } from '../parts/late';
import { Problem } from '../parts/problem';
import { Ago } from '../parts/time';
import { useTitle } from '../parts/title';
import { addresses } from '../text/addresses';
import { awsCommands } from '../text/aws';
import { count } from '../text/format';
import './enrollment.css';
import './users.css';

export function AccessKeys() {
  useTitle('Access keys');
  const list = useQuery({ queryKey: ['access-keys'], queryFn: ({ signal }) => gateway.accessKeys(signal) });
  const { attempt, busy } = useAttempt(['access-keys']);
  const [role, setRole] = useState<Role>('viewer');
  const [fresh, setFresh] = useState<{ id: string; secret: string }>();
  return (
    <div className="page">
      <header className="page-head">
        <h1>Access keys</h1>
        <p className="muted">For the AWS CLI and AWS's SDKs, which sign their requests.</p>
      </header>
      <section className="section" aria-labelledby="make">
        <div className="section-head">
          <h2 id="make">Make an access key</h2>
        </div>
        <form
          className="line"
          onSubmit={(event) => {
            event.preventDefault();
            void attempt(async () => setFresh(await gateway.makeAccessKey(role)));
          }}
        >
          <NativeSelect label="Role" value={role} data={roles} onChange={(event) => setRole(event.currentTarget.value as Role)} />
          <Button type="submit" variant="filled" disabled={busy}>
            Make
          </Button>
        </form>
      </section>
      {fresh && <Fresh {...fresh} />}
      <section className="section" aria-labelledby="keys">
        <div className="section-head">
          <h2 id="keys">Access keys</h2>
          {list.data && <span className="muted">{count(list.data.length)}</span>}
        </div>
        {list.error ? (
          <Problem error={list.error} retry={() => list.refetch()} />
        ) : !list.data ? (
          <Placeholder rows={4} />
        ) : list.data.length === 0 ? (
          <p className="muted">There is none yet.</p>
        ) : (
          <KeyTable keys={list.data} />
        )}
      </section>
    </div>
  );
}

function Fresh({ id, secret }: { id: string; secret: string }) {
  const { configure, trial } = awsCommands(id, secret, addresses(location).origin);
  return (
    <section className="section" aria-labelledby="fresh">
      <div className="section-head">
        <h2 id="fresh">Copy it now: {id}</h2>
      </div>
      <div className="note" role="status">
        <p>This is the only time the secret is shown. The CA's certificate is ca.pem in the gateway's data folder.</p>
      </div>
      <div className="enroll-how" style={{ marginTop: 12 }}>
        <div>
          <p className="muted">The secret</p>
          <Command text={secret} what="the secret" />
        </div>
        <div>
          <p className="muted">For the AWS CLI, as the profile muster</p>
          <Command text={configure} />
        </div>
        <div>
          <p className="muted">Try it</p>
          <Command text={trial} />
        </div>
      </div>
    </section>
  );
}

function KeyTable({ keys }: { keys: AccessKey[] }) {
  const { attempt } = useAttempt(['access-keys']);
  const [leaving, setLeaving] = useState<AccessKey>();
  return (
    <>
      <div className="wide-table" tabIndex={0} role="region" aria-label="The access keys">
        <table className="grid">
          <thead>
            <tr>
              <th>Key</th>
              <th>Role</th>
              <th>State</th>
              <th>Made</th>
              <th>By</th>
              <th>Last used</th>
              <th>
                <span className="unseen">Actions</span>
              </th>
            </tr>
          </thead>
          <tbody>
            {keys.map((key) => (
              <tr key={key.id}>
                <td className="mono">{key.id}</td>
                <td>{key.role}</td>
                <td>{key.active ? <span className="muted">active</span> : <StatusText status="warn">inactive</StatusText>}</td>
                <td>
                  <Ago ms={key.createdMs} />
                </td>
                <td>{key.createdBy}</td>
                <td>
                  <Ago ms={key.lastUsedMs} />
                </td>
                <td className="right">
                  <button
                    type="button"
                    className="plain link"
                    aria-label={`${key.active ? 'Deactivate' : 'Activate'} ${key.id}`}
                    onClick={() =>
                      void attempt(() => gateway.activateAccessKey(key.id, !key.active), `${key.id} is ${key.active ? 'inactive: it opens nothing' : 'active again'}.`)
                    }
                  >
                    {key.active ? 'Deactivate' : 'Activate'}
                  </button>
                  <Tooltip label="Remove">
                    <ActionIcon size={26} aria-label={`Remove ${key.id}`} onClick={() => setLeaving(key)}>
                      <IconTrash size={16} stroke={1.5} />
                    </ActionIcon>
                  </Tooltip>
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      <Confirm
        open={leaving !== undefined}
        title="Remove this access key?"
        action="Remove"
        onCancel={() => setLeaving(undefined)}
        onConfirm={() => {
          const { id } = leaving!;
          setLeaving(undefined);
          void attempt(() => gateway.removeAccessKey(id), `${id} is removed.`);
        }}
      >
        <p>
          Whatever signs with <b className="mono">{leaving?.id}</b> is refused from then on, for good. One that was deactivated can come back.
        </p>
      </Confirm>
    </>
  );
}
