// Bearer tokens for programs: Grafana, scripts, the muster CLI.
import { NativeSelect } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { useState } from 'react';
import { type Role, roles, type Token } from '../api/contract';
import * as gateway from '../api/gateway';
import { useAttempt } from '../parts/attempt';
import { Confirm } from '../parts/confirm';
import { StatusText } from '../parts/glyph';
import { ListSection } from '../parts/listsection';
import { MakeForm } from '../parts/makeform';
import { ShownOnce } from '../parts/shownonce';
import { Ago } from '../parts/time';
import { useTitle } from '../parts/title';
import { Trash } from '../parts/trash';
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
      <ListSection id="tokens" title="Tokens" list={list} none="There is none yet.">
        {(tokens) => <TokenTable tokens={tokens} />}
      </ListSection>
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
    <ShownOnce
      name={name}
      note="This is the only time the token is shown; the gateway keeps its hash."
      commands={[
        { label: 'The token', text: token, what: 'the token' },
        { label: 'Try it', text: `curl --cacert ca.pem -H "Authorization: Bearer ${token}" '${origin}/prometheus/api/v1/query?query=count(up_s)'` },
      ]}
    />
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
                <Trash what={`Remove the token ${token.name}`} onClick={() => setLeaving(token)} />
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
