// The own password.
import { Button, PasswordInput } from '@mantine/core';
import { useState } from 'react';
import * as gateway from '../api/gateway';
import { useAttempt } from '../parts/attempt';
import { NewPassword } from '../parts/newpassword';
import { useTitle } from '../parts/title';
import { useMe } from '../shell/session';
import { isGoodPassword } from '../text/password';
import './users.css';

export function Password() {
  useTitle('Change password');
  const me = useMe();
  const { attempt, busy } = useAttempt(['users']);
  const [present, setPresent] = useState('');
  const [password, setPassword] = useState('');
  const change = async () => {
    if (!(await attempt(() => gateway.changeOwnPassword({ presentPassword: present, password }), 'The password is changed; you are signed out everywhere else.'))) return;
    setPresent('');
    setPassword('');
  };
  return (
    <div className="page">
      <header className="page-head">
        <h1>Change password</h1>
        <p className="muted">Of {me.username}. Every other browser is signed out.</p>
      </header>
      <section className="section" aria-label="Change password">
        <form
          className="password-form"
          onSubmit={(event) => {
            event.preventDefault();
            void change();
          }}
        >
          <input type="text" name="username" autoComplete="username" value={me.username} readOnly hidden />
          <PasswordInput
            label="Present password"
            description="Leave it empty if you have signed in by links so far."
            autoComplete="current-password"
            value={present}
            onChange={(event) => setPresent(event.currentTarget.value)}
          />
          <NewPassword label="New password" username={me.username} value={password} onChange={setPassword} />
          <Button type="submit" variant="filled" disabled={busy || !isGoodPassword(password, me.username)}>
            Change the password
          </Button>
        </form>
      </section>
    </div>
  );
}
