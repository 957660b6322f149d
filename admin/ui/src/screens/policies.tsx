// What devices may do: the list of policies, one policy with its versions and targets, and the simulator that says who may do what.
import { Button, NativeSelect, Textarea, TextInput } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { useEffect, useState } from 'react';
import { Link, useLocation } from 'wouter';
import { mayManageKeys } from '../api/contract';
import * as api from '../api/policies';
import { useAttempt } from '../parts/attempt';
import { Confirm } from '../parts/confirm';
import { StatusText } from '../parts/glyph';
import { Placeholder } from '../parts/late';
import { ListSection } from '../parts/listsection';
import { MakeForm } from '../parts/makeform';
import { Problem } from '../parts/problem';
import { Moment } from '../parts/time';
import { useTitle } from '../parts/title';
import { Trash } from '../parts/trash';
import { useMe } from '../shell/session';
import { count } from '../text/format';
import { policyProblem, startingPolicy, targetName } from '../text/policy';
import { Simulator } from './simulator';
import './policies.css';

const most = 5; // versions of a policy

export function Policies() {
  useTitle('Policies');
  const [, navigate] = useLocation();
  const { attempt } = useAttempt(['policies']);
  const mayWrite = mayManageKeys(useMe().role);
  const list = useQuery({ queryKey: ['policies'], queryFn: ({ signal }) => api.policies(signal) });
  const make = async (name: string) => {
    const made = await attempt(() => api.makePolicy(name, startingPolicy));
    if (made) navigate(`/policies/${encodeURIComponent(name)}`);
    return made;
  };
  return (
    <div className="page">
      <header className="page-head">
        <h1>Policies</h1>
        <p className="muted">What devices may do over MQTT. Without one, a thing may use its own topics and nothing else.</p>
      </header>
      {mayWrite && <MakeForm title="Make a policy" placeholder="street-lights" make={make} />}
      <ListSection id="all" title="Policies" list={list} none="There is none yet: every device has the least that it needs.">
        {(policies) => (
          <ul className="names">
            {policies.map(({ policyName }) => (
              <li key={policyName}>
                <Link href={`/policies/${encodeURIComponent(policyName)}`} className="mono">
                  {policyName}
                </Link>
              </li>
            ))}
          </ul>
        )}
      </ListSection>
    </div>
  );
}

export function Policy({ name }: { name: string }) {
  useTitle(name);
  const [, navigate] = useLocation();
  const { attempt } = useAttempt(['policies']);
  const mayWrite = mayManageKeys(useMe().role);
  const policy = useQuery({ queryKey: ['policy', name], queryFn: ({ signal }) => api.policy(name, signal) });
  const versions = useQuery({ queryKey: ['policy', name, 'versions'], queryFn: ({ signal }) => api.versions(name, signal) });
  const [leaving, setLeaving] = useState(false);
  const [draft, setDraft] = useState<string>();

  const remove = async () => {
    setLeaving(false);
    const gone = await attempt(async () => {
      for (const version of versions.data ?? []) if (!version.isDefaultVersion) await api.removeVersion(name, version.versionId);
      await api.removePolicy(name);
    }, `The policy ${name} is removed.`);
    if (gone) navigate('/policies');
  };

  if (policy.error) return <Problem error={policy.error} retry={() => policy.refetch()} />;
  if (!policy.data) return <Placeholder rows={10} />;
  return (
    <div className="page">
      <header className="page-head">
        <p>
          <Link href="/policies">Policies</Link>
        </p>
        <h1 className="mono">{name}</h1>
        <span className="muted">version {policy.data.defaultVersionId} is in force</span>
        <span className="spread" />
        {mayWrite && <Button onClick={() => setLeaving(true)}>Remove…</Button>}
      </header>
      <div className="policy">
        <div>
          <Editor name={name} document={policy.data.policyDocument} versions={versions.data ?? []} mayWrite={mayWrite} onDraft={setDraft} />
          <Versions name={name} versions={versions.data ?? []} mayWrite={mayWrite} />
        </div>
        <div>
          <Simulator name={name} version={policy.data.defaultVersionId} draft={draft} />
          <Targets name={name} arn={policy.data.policyArn} mayWrite={mayWrite} />
        </div>
      </div>
      <Confirm open={leaving} title="Remove this policy?" action="Remove" onCancel={() => setLeaving(false)} onConfirm={() => void remove()}>
        <p>
          <b>{name}</b> goes with all its versions. One that is still attached is not removed.
        </p>
      </Confirm>
    </div>
  );
}

interface EditorProps {
  name: string;
  document: string;
  versions: api.PolicyVersion[];
  mayWrite: boolean;
  /** Told what is written, while it differs from what is in force and may be a policy. */
  onDraft: (draft: string | undefined) => void;
}

function Editor({ name, document, versions, mayWrite, onDraft }: EditorProps) {
  const shown = pretty(document);
  const [text, setText] = useState(shown);
  const { attempt, busy } = useAttempt(['policy', name]);
  useEffect(() => setText(shown), [shown]);
  const problem = policyProblem(text);
  const draft = text === shown || problem ? undefined : text;
  useEffect(() => onDraft(draft), [draft, onDraft]);
  // The oldest one makes room, as nobody can want a sixth version more than the newest.
  const dropped = versions.length >= most ? versions.filter((version) => !version.isDefaultVersion).at(-1) : undefined;
  const save = () =>
    attempt(async () => {
      if (dropped) await api.removeVersion(name, dropped.versionId);
      await api.makeVersion(name, text);
    }, 'The new version is in force from the next packet of each device.');
  return (
    <section className="section" aria-labelledby="document">
      <div className="section-head">
        <h2 id="document">Document</h2>
      </div>
      <Textarea
        aria-label="Document of the policy"
        classNames={{ input: 'mono' }}
        spellCheck={false}
        autosize
        minRows={14}
        maxRows={32}
        value={text}
        onChange={(event) => setText(event.currentTarget.value)}
        error={problem}
      />
      <div className="line">
        {mayWrite && (
          <Button variant="filled" disabled={busy || problem !== undefined || text === shown} onClick={() => void save()}>
            Put in force
          </Button>
        )}
        {text !== shown && <Button onClick={() => setText(shown)}>Undo</Button>}
        {mayWrite && text !== shown && dropped && <span className="muted">Version {dropped.versionId}, the oldest of five, goes.</span>}
      </div>
    </section>
  );
}

function pretty(document: string): string {
  try {
    return JSON.stringify(JSON.parse(document), null, 2);
  } catch {
    return document;
  }
}

function Versions({ name, versions, mayWrite }: { name: string; versions: api.PolicyVersion[]; mayWrite: boolean }) {
  const { attempt } = useAttempt(['policy', name]);
  return (
    <section className="section" aria-labelledby="versions">
      <div className="section-head">
        <h2 id="versions">Versions</h2>
      </div>
      <table className="grid">
        <thead>
          <tr>
            <th>Version</th>
            <th>Made</th>
            <th>State</th>
            <th>
              <span className="unseen">Actions</span>
            </th>
          </tr>
        </thead>
        <tbody>
          {versions.map(({ versionId, createDate, isDefaultVersion }) => (
            <tr key={versionId}>
              <td>{versionId}</td>
              <td>
                <Moment ms={createDate * 1000} />
              </td>
              <td>{isDefaultVersion ? <StatusText status="ok">in force</StatusText> : <span className="muted">kept</span>}</td>
              <td className="right">
                {mayWrite && !isDefaultVersion && (
                  <>
                    <button
                      type="button"
                      className="plain link"
                      onClick={() => void attempt(() => api.makeDefault(name, versionId), `Version ${versionId} is in force again.`)}
                    >
                      Put in force
                    </button>
                    <Trash
                      what={`Remove version ${versionId}`}
                      onClick={() => void attempt(() => api.removeVersion(name, versionId), `Version ${versionId} is removed.`)}
                    />
                  </>
                )}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}

/** The groups and certificates that have the policy. */
function Targets({ name, arn, mayWrite }: { name: string; arn: string; mayWrite: boolean }) {
  const { attempt } = useAttempt(['policy', name, 'targets']);
  const list = useQuery({ queryKey: ['policy', name, 'targets'], queryFn: ({ signal }) => api.targets(name, signal) });
  const [kind, setKind] = useState<'thinggroup' | 'cert'>('thinggroup');
  const [id, setId] = useState('');
  const change = async (what: () => Promise<void>) => {
    if (await attempt(what)) setId('');
  };
  const prefix = arn.slice(0, arn.lastIndexOf(':') + 1);
  return (
    <section className="section" aria-labelledby="targets">
      <div className="section-head">
        <h2 id="targets">Attached to</h2>
        {list.data && <span className="muted">{count(list.data.length)}</span>}
      </div>
      {list.error ? (
        <Problem error={list.error} retry={() => list.refetch()} />
      ) : !list.data ? (
        <Placeholder rows={2} />
      ) : (
        <ul className="names">
          {list.data.map((target) => (
            <li key={target}>
              <TargetLink arn={target} />
              {mayWrite && <Trash label="Detach" what={`Detach from ${targetName(target).name}`} onClick={() => void change(() => api.detach(name, target))} />}
            </li>
          ))}
          {list.data.length === 0 && <li className="muted">Nobody has it yet.</li>}
        </ul>
      )}
      {mayWrite && (
        <form
          className="line"
          onSubmit={(event) => {
            event.preventDefault();
            void change(() => api.attach(name, `${prefix}${kind}/${id.trim()}`));
          }}
        >
          <NativeSelect
            label="Attach to a"
            value={kind}
            onChange={(event) => setKind(event.currentTarget.value as typeof kind)}
            data={[
              { value: 'thinggroup', label: 'group' },
              { value: 'cert', label: 'certificate' },
            ]}
          />
          <TextInput
            label={kind === 'cert' ? 'Its id' : 'Its name'}
            spellCheck={false}
            value={id}
            onChange={(event) => setId(event.currentTarget.value)}
          />
          <Button type="submit" disabled={!id.trim()}>
            Attach
          </Button>
        </form>
      )}
    </section>
  );
}

function TargetLink({ arn }: { arn: string }) {
  const { kind, name } = targetName(arn);
  if (kind === 'thinggroup') {
    return (
      <span className="clip">
        group <Link href={`/groups/${encodeURIComponent(name)}`}>{name}</Link>
      </span>
    );
  }
  return (
    <span className="clip" title={name}>
      certificate <span className="mono">{name.slice(0, 16)}…</span>
    </span>
  );
}
