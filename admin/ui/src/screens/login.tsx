import { Button, PasswordInput, TextInput } from '@mantine/core';
import { useQueryClient } from '@tanstack/react-query';
import { useEffect, useRef, useState } from 'react';
import { useLocation, useSearchParams } from 'wouter';
import { sentence } from '../api/client';
import type { Me } from '../api/contract';
import * as gateway from '../api/gateway';
import { Glyph } from '../parts/glyph';
import { Mark } from '../parts/mark';
import { useTitle } from '../parts/title';
import { codeOf, safeTarget } from '../text/urlstate';
import './signin.css';

/** Password, or a one-time code in the address: that signs in at once. Leads back to where the visitor wanted to go. */
export function Login() {
  useTitle('Sign in');
  const [, navigate] = useLocation();
  const [params] = useSearchParams();
  const client = useQueryClient();
  const [code] = useState(() => codeOf(location.hash));
  const [username, setUsername] = useState('');
  const [password, setPassword] = useState('');
  const [busy, setBusy] = useState(code !== '');
  const [refused, setRefused] = useState('');
  const target = safeTarget(params.get('to'));

  const enter = async (credentials: Parameters<typeof gateway.login>[0]) => {
    setBusy(true);
    setRefused('');
    try {
      const me: Me = await gateway.login(credentials);
      client.setQueryData(['me'], me);
      navigate(target, { replace: true });
    } catch (cause) {
      setRefused(sentence(cause));
      setBusy(false);
    }
  };

  const tried = useRef(false);
  useEffect(() => {
    if (!code || tried.current) return;
    tried.current = true;
    history.replaceState(null, '', location.pathname + location.search);
    void enter({ code });
  });

  useEffect(() => {
    if (code) return;
    gateway.setupNeeded().then(
      ({ needed }) => needed && navigate('/setup', { replace: true }),
      () => undefined,
    );
  }, [code, navigate]);

  return (
    <main className="signin">
      <div className="signin-card">
        <Mark />
        <h1>Sign in to muster</h1>
        <p className="muted">{busy && code ? 'Signing in with the one-time code.' : 'With the account of this gateway.'}</p>
        <form
          onSubmit={(event) => {
            event.preventDefault();
            void enter({ username: username.trim(), password });
          }}
        >
          <TextInput
            label="User name"
            autoComplete="username"
            autoFocus
            required
            withAsterisk={false}
            value={username}
            onChange={(event) => setUsername(event.currentTarget.value)}
          />
          <PasswordInput
            label="Password"
            autoComplete="current-password"
            required
            withAsterisk={false}
            value={password}
            onChange={(event) => setPassword(event.currentTarget.value)}
          />
          <p className="refused" role="alert">
            {refused && (
              <>
                <Glyph status="bad" /> {refused}
              </>
            )}
          </p>
          <Button type="submit" variant="filled" size="sm" disabled={busy || !username.trim() || !password}>
            Sign in
          </Button>
        </form>
        <p className="host">{location.host}</p>
      </div>
    </main>
  );
}
