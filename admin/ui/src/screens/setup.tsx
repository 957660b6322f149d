import { Button, TextInput } from '@mantine/core';
import { useQuery, useQueryClient } from '@tanstack/react-query';
import { useEffect, useState } from 'react';
import { Redirect, useLocation } from 'wouter';
import { sentence } from '../api/client';
import * as gateway from '../api/gateway';
import { Glyph } from '../parts/glyph';
import { Mark } from '../parts/mark';
import { NewPassword } from '../parts/newpassword';
import { useTitle } from '../parts/title';
import { isGoodPassword } from '../text/password';
import { codeOf } from '../text/urlstate';
import './signin.css';

/** The first account of a new gateway. The code proves that its maker can read the gateway's own output. */
export function Setup() {
  useTitle('Set up');
  const [, navigate] = useLocation();
  const client = useQueryClient();
  const needed = useQuery({ queryKey: ['setup'], queryFn: gateway.setupNeeded, retry: false });
  const [code, setCode] = useState(() => codeOf(location.hash));
  const [codeGiven] = useState(code !== '');
  const [username, setUsername] = useState('');
  const [password, setPassword] = useState('');
  const [busy, setBusy] = useState(false);
  const [refused, setRefused] = useState('');
  const complete = code.trim() && username.trim() && isGoodPassword(password, username);

  useEffect(() => {
    if (location.hash) history.replaceState(null, '', location.pathname);
  }, []);

  if (needed.data && !needed.data.needed && !busy) return <Redirect to="/" replace />;

  const create = async () => {
    setBusy(true);
    setRefused('');
    try {
      const me = await gateway.setup({ code: code.trim(), username: username.trim(), password });
      client.setQueryData(['me'], me);
      navigate('/', { replace: true });
    } catch (cause) {
      setRefused(sentence(cause));
      setBusy(false);
    }
  };

  return (
    <main className="signin">
      <div className="signin-card">
        <Mark />
        <h1>Set up this gateway</h1>
        <p className="muted">Make the first account. It may do everything.</p>
        <form
          onSubmit={(event) => {
            event.preventDefault();
            void create();
          }}
        >
          <TextInput
            label="One-time code"
            description="The gateway printed it when it started."
            autoComplete="one-time-code"
            spellCheck={false}
            autoFocus={!codeGiven}
            required
            withAsterisk={false}
            value={code}
            onChange={(event) => setCode(event.currentTarget.value)}
            styles={{ input: { fontFamily: 'var(--mono)' } }}
          />
          <TextInput
            label="User name"
            autoComplete="username"
            spellCheck={false}
            autoFocus={codeGiven}
            required
            withAsterisk={false}
            value={username}
            onChange={(event) => setUsername(event.currentTarget.value)}
          />
          <NewPassword username={username} value={password} onChange={setPassword} />
          <p className="refused" role="alert">
            {refused && (
              <>
                <Glyph status="bad" /> {refused}
              </>
            )}
          </p>
          <Button type="submit" variant="filled" size="sm" disabled={busy || !complete}>
            Make the account
          </Button>
        </form>
        <p className="host">{location.host}</p>
      </div>
    </main>
  );
}
