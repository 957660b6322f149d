// Bearer tokens for programs: Grafana, scripts, the muster CLI.
import { ActionIcon, NativeSelect, Tooltip } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { IconTrash } from '@tabler/icons-react';
import { useState } from 'react';
import { type Role, roles, type Token } from '../api/contract';
import * as gateway from '../api/gateway';
import { useAttempt } from '../parts/attempt';
import { Confirm } from '../parts/confirm';
import { Command } from '../parts/copy';
import { StatusText } from '../parts/glyph';
import { Placeholder } from '../parts/late';
import { MakeForm } from '../parts/makeform';
import { Problem } from '../parts/problem';
import { Ago } from '../parts/time';
import { useTitle } from '../parts/title';
import { useNow } from '../live/clock';
import { addresses } from '../text/addresses';
import { count, daysUntil } from '../text/format';
import './enrollment.css';

const lives = [
  { value: '30', label: '30 days' },
  { value: '90', label: '90 days' },
  { value: '365', label: 'a year' },
  { value: '0', label: 'no end' },
];

export function Tokens() {
  useTitle('Access tokens');
  const list = useQuery({ queryKey: ['tokens'], queryFn: ({ signal }) => gateway.tokens(signal) });
  const [fresh, setFresh] = useState<{ name: string; token: string }>();
  return (
    <div className="page">
      <header className="page-head">
        <h1>Access tokens</h1>
        <p className="muted">For programs. Each has a role of its own and can be removed by itself.</p>
      </header>
      <Create onMade={setFresh} />
      {fresh && <Fresh {...fresh} />}
      <section className="section" aria-labelledby="tokens">
        <div className="section-head">
          <h2 id="tokens">Tokens</h2>
          {list.data && <span className="muted">{count(list.data.length)}</span>}
        </div>
        {list.error ? (
          <Problem error={list.error} retry={() => list.refetch()} />
        ) : !list.data ? (
          <Placeholder rows={4} />
        ) : list.data.length === 0 ? (
          <p className="muted">There is none yet.</p>
        ) : (
          <TokenTable tokens={list.data} />
        )}
      </section>
    </div>
  );
}

function Create({ onMade }: { onMade: (fresh: { name: string; token: string }) => void }) {
  const { attempt, busy } = useAttempt(['tokens']);
  const [role, setRole] = useState<Role>('viewer');
  const [days, setDays] = useState('90');
  const make = (name: string) =>
    attempt(async () => onMade({ name, token: (await gateway.makeToken({ name, role, lifeSeconds: Number(days) * 86_400 })).token }));

  return (
    <MakeForm title="Make a token" placeholder="grafana" disabled={busy} make={make}>
      <NativeSelect label="Role" value={role} data={roles} onChange={(event) => setRole(event.currentTarget.value as Role)} />
      <NativeSelect label="Ends after" value={days} data={lives} onChange={(event) => setDays(event.currentTarget.value)} />
    </MakeForm>
  );
}

function Fresh({ name, token }: { name: string; token: string }) {
  const { origin } = addresses(location);
  return (
    <section className="section" aria-labelledby="fresh">
      <div className="section-head">
        <h2 id="fresh">Copy it now: {name}</h2>
      </div>
      <div className="note" role="status">
        <p>This is the only time the token is shown; the gateway keeps its hash.</p>
      </div>
      <div className="enroll-how" style={{ marginTop: 12 }}>
        <div>
          <p className="muted">The token</p>
          <Command text={token} what="the token" />
        </div>
        <div>
          <p className="muted">Try it</p>
          <Command text={`curl --cacert ca.pem -H "Authorization: Bearer ${token}" '${origin}/prometheus/api/v1/query?query=count(up_s)'`} />
        </div>
      </div>
    </section>
  );
}

function TokenTable({ tokens }: { tokens: Token[] }) {
  const { attempt } = useAttempt(['tokens']);
  const now = useNow();
  const [leaving, setLeaving] = useState<Token>();
  const remove = (token: Token) => {
    setLeaving(undefined);
    void attempt(() => gateway.removeToken(token.id), `The token ${token.name} is removed.`);
  };
  return (
    <>
      <table className="grid">
        <thead>
          <tr>
            <th>Name</th>
            <th>Role</th>
            <th>Made</th>
            <th>Last used</th>
            <th>Ends</th>
            <th>
              <span className="unseen">Actions</span>
            </th>
          </tr>
        </thead>
        <tbody>
          {tokens.map((token) => (
            <tr key={token.id}>
              <td>{token.name}</td>
              <td>{token.role}</td>
              <td>
                <Ago ms={token.createdMs} />
              </td>
              <td>
                <Ago ms={token.lastUsedMs} />
              </td>
              <td>
                {!token.expiresMs ? (
                  <span className="muted">no end</span>
                ) : token.expiresMs < now ? (
                  <StatusText status="bad">expired</StatusText>
                ) : (
                  `in ${count(daysUntil(token.expiresMs, now))} d`
                )}
              </td>
              <td className="right">
                <Tooltip label="Remove">
                  <ActionIcon size={26} aria-label={`Remove the token ${token.name}`} onClick={() => setLeaving(token)}>
                    <IconTrash size={16} stroke={1.5} />
                  </ActionIcon>
                </Tooltip>
              </td>
            </tr>
          ))}
        </tbody>
      </table>
      <Confirm
        open={leaving !== undefined}
        title="Remove this token?"
        action="Remove"
        onCancel={() => setLeaving(undefined)}
        onConfirm={() => leaving && remove(leaving)}
      >
        <p>
          Whatever uses <b>{leaving?.name}</b> is refused from then on.
        </p>
      </Confirm>
    </>
  );
}
