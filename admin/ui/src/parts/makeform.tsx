import { Button, TextInput } from '@mantine/core';
import { useState } from 'react';

interface MakeFormProps {
  /** Of the section, such as "Make a type". */
  title: string;
  label?: string;
  placeholder?: string;
  /** What the rest of the form lacks. */
  disabled?: boolean;
  /** Makes it; once that is done, the name is empty for the next one. */
  make: (name: string) => Promise<boolean>;
  /** Fields behind the name. */
  children?: React.ReactNode;
}

/** The section at the top of a list that makes one more: a name, and what else it takes. */
export function MakeForm({ title, label = 'Name', placeholder, disabled = false, make, children }: MakeFormProps) {
  const [name, setName] = useState('');
  return (
    <section className="section" aria-labelledby="make">
      <div className="section-head">
        <h2 id="make">{title}</h2>
      </div>
      <form
        className="line"
        onSubmit={async (event) => {
          event.preventDefault();
          if (await make(name.trim())) setName('');
        }}
      >
        <TextInput label={label} placeholder={placeholder} spellCheck={false} autoComplete="off" value={name} onChange={(event) => setName(event.currentTarget.value)} />
        {children}
        <Button type="submit" variant="filled" disabled={disabled || !name.trim()}>
          Make
        </Button>
      </form>
    </section>
  );
}
