// People who may sign in: their roles, who is out for a while, new passwords.
import { ActionIcon, Button, Modal, NativeSelect, Tooltip } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { IconKey, IconUserCheck, IconUserOff } from '@tabler/icons-react';
import { useState } from 'react';
import { Link } from 'wouter';
import { type Role, roles, type User } from '../api/contract';
import * as gateway from '../api/gateway';
import { useAttempt } from '../parts/attempt';
import { Confirm } from '../parts/confirm';
import { StatusText } from '../parts/glyph';
import { ListSection } from '../parts/listsection';
import { MakeForm } from '../parts/makeform';
import { NewPassword } from '../parts/newpassword';
import { Ago } from '../parts/time';
import { useTitle } from '../parts/title';
import { Trash } from '../parts/trash';
import { useMe } from '../shell/session';
import { isGoodPassword } from '../text/password';
import './users.css';

export function Users() {
  useTitle('Users');
  const list = useQuery({ queryKey: ['users'], queryFn: ({ signal }) => gateway.users(signal) });
  return (
    <div className="page">
      <header className="page-head">
        <h1>Users</h1>
        <p className="muted">
          People who sign in here. Programs have <Link href="/tokens">tokens</Link> and <Link href="/access-keys">access keys</Link>.
        </p>
      </header>
      <Make />
      <ListSection id="users" title="Users" list={list} none="There is none yet.">
        {(users) => <UserTable users={users} />}
      </ListSection>
    </div>
  );
}

/** The name first, then in a dialog of its own the password with its rules. */
function Make() {
  const { attempt, busy } = useAttempt(['users']);
  const [role, setRole] = useState<Role>('viewer');
  const [naming, setNaming] = useState<{ name: string; answer: (made: boolean) => void }>();
  const end = (made: boolean) => {
    naming?.answer(made);
    setNaming(undefined);
  };
  return (
    <>
      <MakeForm title="Make a user" placeholder="ana" make={(name) => new Promise((answer) => setNaming({ name, answer }))}>
        <NativeSelect label="Role" value={role} data={roles} onChange={(event) => setRole(event.currentTarget.value as Role)} />
      </MakeForm>
      <PasswordDialog
        title={`A password for ${naming?.name ?? ''}`}
        username={naming?.name}
        action="Make the user"
        busy={busy}
        onCancel={() => end(false)}
        onTake={async (password) => {
          const username = naming!.name;
          if (await attempt(() => gateway.makeUser({ username, password, role }), `${username} may sign in.`)) end(true);
        }}
      />
    </>
  );
}

interface PasswordDialogProps {
  title: string;
  /** Whose password; undefined: the dialog is not there. */
  username: string | undefined;
  action: string;
  busy: boolean;
  onCancel: () => void;
  onTake: (password: string) => void;
}

function PasswordDialog({ title, username, action, busy, onCancel, onTake }: PasswordDialogProps) {
  const [password, setPassword] = useState('');
  return (
    <Modal
      opened={username !== undefined}
      onClose={onCancel}
      onExitTransitionEnd={() => setPassword('')}
      title={title}
      size={400}
      closeButtonProps={{ 'aria-label': 'Close' }}
    >
      <form
        className="password-dialog"
        onSubmit={(event) => {
          event.preventDefault();
          onTake(password);
        }}
      >
        <NewPassword username={username ?? ''} value={password} onChange={setPassword} />
        <p className="muted">Tell it to them on a safe way. They can change it in the menu behind their name.</p>
        <Button type="submit" variant="filled" disabled={busy || !isGoodPassword(password, username ?? '')}>
          {action}
        </Button>
      </form>
    </Modal>
  );
}

function UserTable({ users }: { users: User[] }) {
  const me = useMe();
  const { attempt, busy } = useAttempt(['users']);
  const [leaving, setLeaving] = useState<User>();
  const [resetting, setResetting] = useState<User>();
  return (
    <>
      <div className="wide-table" tabIndex={0} role="region" aria-label="The users">
        <table className="grid">
          <thead>
            <tr>
              <th>User</th>
              <th>Role</th>
              <th>State</th>
              <th>Made</th>
              <th>Changed</th>
              <th>
                <span className="unseen">Actions</span>
              </th>
            </tr>
          </thead>
          <tbody>
            {users.map((user) => (
              <tr key={user.username}>
                <td>
                  {user.username}
                  {user.username === me.username && <span className="muted"> (you)</span>}
                </td>
                <td>
                  <NativeSelect
                    aria-label={`Role of ${user.username}`}
                    value={user.role}
                    data={roles.map(({ value }) => value)}
                    disabled={user.username === me.username}
                    onChange={(event) => {
                      const role = event.currentTarget.value as Role;
                      void attempt(() => gateway.changeUser(user.username, { role }), `${user.username} is ${role} now, and signs in anew.`);
                    }}
                  />
                </td>
                <td>
                  {user.disabled ? (
                    <StatusText status="warn">disabled</StatusText>
                  ) : user.hasPassword ? (
                    <span className="muted">may sign in</span>
                  ) : (
                    <span className="muted">by link only</span>
                  )}
                </td>
                <td>
                  <Ago ms={user.createdMs} />
                </td>
                <td>
                  <Ago ms={user.changedMs} />
                </td>
                <td className="right">
                  {user.username !== me.username && (
                    <>
                      <Tooltip label="New password">
                        <ActionIcon size={26} aria-label={`New password for ${user.username}`} onClick={() => setResetting(user)}>
                          <IconKey size={16} stroke={1.5} />
                        </ActionIcon>
                      </Tooltip>
                      <Tooltip label={user.disabled ? 'Enable' : 'Disable'}>
                        <ActionIcon
                          size={26}
                          aria-label={`${user.disabled ? 'Enable' : 'Disable'} ${user.username}`}
                          onClick={() =>
                            void attempt(
                              () => gateway.changeUser(user.username, { disabled: !user.disabled }),
                              user.disabled ? `${user.username} may sign in again.` : `${user.username} is signed out and cannot sign in.`,
                            )
                          }
                        >
                          {user.disabled ? <IconUserCheck size={16} stroke={1.5} /> : <IconUserOff size={16} stroke={1.5} />}
                        </ActionIcon>
                      </Tooltip>
                      <Trash what={`Remove ${user.username}`} onClick={() => setLeaving(user)} />
                    </>
                  )}
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      <PasswordDialog
        title={`A new password for ${resetting?.username ?? ''}`}
        username={resetting?.username}
        action="Set the password"
        busy={busy}
        onCancel={() => setResetting(undefined)}
        onTake={async (password) => {
          const { username } = resetting!;
          if (await attempt(() => gateway.changeUser(username, { password }), `${username} signs in with the new password.`)) setResetting(undefined);
        }}
      />
      <Confirm
        open={leaving !== undefined}
        title="Remove this user?"
        action="Remove"
        onCancel={() => setLeaving(undefined)}
        onConfirm={() => {
          const { username } = leaving!;
          setLeaving(undefined);
          void attempt(() => gateway.removeUser(username), `${username} is removed.`);
        }}
      >
        <p>
          <b>{leaving?.username}</b> is signed out at once. Tokens and access keys that they made stay.
        </p>
      </Confirm>
    </>
  );
}
