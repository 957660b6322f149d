// May this thing do that? The gateway's own answer, with the policies that decide.
import { Button, NativeSelect, TextInput } from '@mantine/core';
import { useEffect, useState } from 'react';
import { sentence } from '../api/client';
import * as api from '../api/policies';
import { StatusText, type Status } from '../parts/glyph';

const actions: { value: api.Action; label: string; asks: string }[] = [
  { value: 'PUBLISH', label: 'publish', asks: 'to the topic' },
  { value: 'SUBSCRIBE', label: 'subscribe', asks: 'to the topic filter' },
  { value: 'RECEIVE', label: 'receive', asks: 'from the topic' },
  { value: 'CONNECT', label: 'connect', asks: 'with the client id' },
];

const words: Record<api.Verdict, { status: Status; text: string }> = {
  ALLOWED: { status: 'ok', text: 'allowed' },
  EXPLICIT_DENY: { status: 'bad', text: 'denied by a policy' },
  IMPLICIT_DENY: { status: 'warn', text: 'denied, because no policy allows it' },
};

interface Answer {
  decision: api.Decision;
  inForce: boolean;
  /** Whether a draft was judged. */
  drafted: boolean;
}

/** Judges by the draft, if there is one, else by what is in force; version is only shown. */
export function Simulator({ name, version, draft }: { name: string; version: string; draft?: string }) {
  const [thing, setThing] = useState('');
  const [action, setAction] = useState<api.Action>('PUBLISH');
  const [on, setOn] = useState('');
  const [answer, setAnswer] = useState<Answer | { problem: string }>();
  // What was answered is not said of another document.
  useEffect(() => setAnswer(undefined), [draft, version]);
  const { asks } = actions.find((each) => each.value === action)!;
  const topic = on.trim() || (action === 'CONNECT' ? thing.trim() : `dt/${thing.trim()}`);

  const ask = async () => {
    try {
      const { inForce, results } = await api.simulate(name, draft, thing.trim(), action, topic);
      setAnswer({ decision: results[0]!, inForce, drafted: draft !== undefined });
    } catch (cause) {
      setAnswer({ problem: sentence(cause) });
    }
  };

  return (
    <section className="section" aria-labelledby="simulate">
      <div className="section-head">
        <h2 id="simulate">Try it</h2>
        <span className="muted">with {draft === undefined ? `version ${version}` : 'the document as it is written now,'} and everything else that is in force</span>
      </div>
      <form
        className="line"
        onSubmit={(event) => {
          event.preventDefault();
          void ask();
        }}
      >
        <TextInput label="May the thing" placeholder="lamp-000417" spellCheck={false} value={thing} onChange={(event) => setThing(event.currentTarget.value)} />
        <NativeSelect label="do this" value={action} data={actions} onChange={(event) => setAction(event.currentTarget.value as api.Action)} />
        <TextInput
          label={asks}
          placeholder={thing.trim() ? topic : 'dt/lamp-000417'}
          spellCheck={false}
          value={on}
          onChange={(event) => setOn(event.currentTarget.value)}
        />
        <Button type="submit" variant="filled" disabled={!thing.trim()}>
          Ask
        </Button>
      </form>
      <div role="status" className="answer">
        {answer && ('problem' in answer ? <StatusText status="warn">{answer.problem}</StatusText> : <Verdict policy={name} {...answer} />)}
      </div>
    </section>
  );
}

function Verdict({ policy, decision: { decision, decisionNow, matchedStatements, missingContextValues }, inForce, drafted }: Answer & { policy: string }) {
  const { status, text } = words[decision];
  const deciding = matchedStatements.filter(({ effect }) => (decision === 'EXPLICIT_DENY') === (effect === 'Deny'));
  return (
    <>
      <StatusText status={status}>{text}</StatusText>
      {drafted && (
        <p className="muted">
          {decision === decisionNow ? 'As it is now.' : `Now it is ${words[decisionNow].text}.`}
          {!inForce && ` It does not have ${policy}: this is as if that were attached to its certificate.`}
        </p>
      )}
      {deciding.length > 0 && (
        <ul className="muted">
          {deciding.map(({ policyName, statement, resource }) => (
            <li key={`${policyName} ${statement} ${resource}`}>
              statement {statement} of {policyName}: <span className="mono">{resource}</span>
            </li>
          ))}
        </ul>
      )}
      {missingContextValues && missingContextValues.length > 0 && (
        <p className="muted">Not known here, so that conditions on it did not hold: {missingContextValues.join(', ')}.</p>
      )}
    </>
  );
}
