// Thing types: what kinds of things there are, and which of them take no new things. Each has a page of its own.
import { TextInput } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { useState } from 'react';
import { Link } from 'wouter';
import { mayChangeFleet } from '../api/contract';
import * as api from '../api/groups';
import { useAttempt } from '../parts/attempt';
import { StatusText } from '../parts/glyph';
import { Placeholder } from '../parts/late';
import { MakeForm } from '../parts/makeform';
import { Problem } from '../parts/problem';
import { Moment } from '../parts/time';
import { useTitle } from '../parts/title';
import { useLive } from '../live/overview';
import { useMe } from '../shell/session';
import { count } from '../text/format';
import { fleetLink } from '../text/urlstate';
import './policies.css';
import './types.css';

export function Types() {
  useTitle('Thing types');
  const { attempt } = useAttempt(['types']);
  const { overview } = useLive();
  const mayWrite = mayChangeFleet(useMe().role);
  const list = useQuery({ queryKey: ['types'], queryFn: ({ signal }) => api.thingTypes(signal) });
  const [description, setDescription] = useState('');
  const make = async (name: string) => {
    const made = await attempt(() => api.makeType(name, description.trim()), `The type ${name} is made.`);
    if (made) setDescription('');
    return made;
  };
  return (
    <div className="page">
      <header className="page-head">
        <h1>Thing types</h1>
        <p className="muted">A thing has one at most. A type goes five minutes after it was deprecated, when nothing has it.</p>
      </header>
      {mayWrite && (
        <MakeForm title="Make a type" placeholder="street-light" make={make}>
          <TextInput label="Description" value={description} onChange={(event) => setDescription(event.currentTarget.value)} />
        </MakeForm>
      )}
      <section className="section" aria-label="Thing types">
        {list.error ? (
          <Problem error={list.error} retry={() => list.refetch()} />
        ) : !list.data ? (
          <Placeholder rows={4} />
        ) : list.data.length === 0 ? (
          <p className="muted">There is none yet.</p>
        ) : (
          <div className="wide-table" tabIndex={0} role="region" aria-label="The types">
            <table className="grid">
              <thead>
                <tr>
                  <th>Type</th>
                  <th className="right">Things</th>
                  <th>State</th>
                  <th>Made</th>
                  <th>Description</th>
                  <th>
                    <span className="unseen">Actions</span>
                  </th>
                </tr>
              </thead>
              <tbody>
                {list.data.map(({ thingTypeName, thingTypeMetadata: { deprecated, creationDate }, thingTypeProperties }) => (
                  <tr key={thingTypeName}>
                    <td className="type-name" title={thingTypeName}>
                      <Link href={`/types/${encodeURIComponent(thingTypeName)}`} className="clip">{thingTypeName}</Link>
                    </td>
                    <td className="right">
                      <Link href={fleetLink({ type: thingTypeName })} className="number">
                        {count(overview?.byType[thingTypeName] ?? 0)}
                      </Link>
                    </td>
                    <td>{deprecated ? <StatusText status="warn">deprecated</StatusText> : <span className="muted">in use</span>}</td>
                    <td>
                      <Moment ms={creationDate * 1000} />
                    </td>
                    <td className="fill clip" title={thingTypeProperties.thingTypeDescription}>
                      {thingTypeProperties.thingTypeDescription}
                    </td>
                    <td className="right">
                      {mayWrite && (
                        <>
                          <button
                            type="button"
                            className="plain link"
                            onClick={() =>
                              void attempt(
                                () => api.deprecateType(thingTypeName, deprecated),
                                deprecated ? `${thingTypeName} takes new things again.` : `${thingTypeName} takes no new things.`,
                              )
                            }
                          >
                            {deprecated ? 'Use again' : 'Deprecate'}
                          </button>
                          {deprecated && (
                            <button type="button" className="plain link" onClick={() => void attempt(() => api.removeType(thingTypeName), `The type ${thingTypeName} is removed.`)}>
                              Remove
                            </button>
                          )}
                        </>
                      )}
                    </td>
                  </tr>
                ))}
              </tbody>
            </table>
          </div>
        )}
      </section>
    </div>
  );
}
