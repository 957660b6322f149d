// Access keys, for AWS's CLI and SDKs.
import { Button, NativeSelect } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { useState } from 'react';
import { type AccessKey, type Role, roles } from '../api/contract';
import * as gateway from '../api/gateway';
import { useAttempt } from '../parts/attempt';
import { Confirm } from '../parts/confirm';
import { StatusText } from '../parts/glyph';
import { ListSection } from '../parts/listsection';
import { ShownOnce } from '../parts/shownonce';
import { Ago } from '../parts/time';
import { useTitle } from '../parts/title';
import { Trash } from '../parts/trash';
import { addresses } from '../text/addresses';
import { awsCommands } from '../text/aws';
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
      <ListSection id="keys" title="Access keys" list={list} none="There is none yet.">
        {(keys) => <KeyTable keys={keys} />}
      </ListSection>
    </div>
  );
}

function Fresh({ id, secret }: { id: string; secret: string }) {
  const { configure, trial } = awsCommands(id, secret, addresses(location).origin);
  return (
    <ShownOnce
      name={id}
      note="This is the only time the secret is shown. The CA's certificate is ca.pem in the gateway's data folder."
      commands={[
        { label: 'The secret', text: secret, what: 'the secret' },
        { label: 'For the AWS CLI, as the profile muster', text: configure },
        { label: 'Try it', text: trial },
      ]}
    />
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
                  <Trash what={`Remove ${key.id}`} onClick={() => setLeaving(key)} />
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
