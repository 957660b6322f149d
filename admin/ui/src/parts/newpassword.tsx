import { PasswordInput } from '@mantine/core';
import { useId } from 'react';
import { passwordRules } from '../text/password';
import { Glyph } from './glyph';
import './newpassword.css';

interface NewPasswordProps {
  label?: string;
  /** Whose it will be: it must be more than that name. */
  username: string;
  value: string;
  onChange: (password: string) => void;
}

/** A field for a password that is being chosen, with the rules and whether each is met. */
export function NewPassword({ label = 'Password', username, value, onChange }: NewPasswordProps) {
  const rulesId = useId();
  return (
    <>
      <PasswordInput
        label={label}
        autoComplete="new-password"
        required
        withAsterisk={false}
        aria-describedby={rulesId}
        value={value}
        onChange={(event) => onChange(event.currentTarget.value)}
      />
      <ul className="rules" id={rulesId}>
        {passwordRules(value, username).map((rule) => (
          <li key={rule.text} data-met={rule.met}>
            <span className="status">
              <Glyph status={rule.met ? 'ok' : 'off'} />
              {rule.text}
              <span className="unseen">{rule.met ? ': met' : ': not met yet'}</span>
            </span>
          </li>
        ))}
      </ul>
    </>
  );
}
