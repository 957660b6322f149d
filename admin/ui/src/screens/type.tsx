// One thing type: how many things have it, the attributes that they must and may have, and what becomes of their telemetry.
import { useQuery } from '@tanstack/react-query';
import { useState } from 'react';
import { Link } from 'wouter';
import { mayChangeFleet } from '../api/contract';
import * as groups from '../api/groups';
import * as api from '../api/schemas';
import { StatusText } from '../parts/glyph';
import { Placeholder } from '../parts/late';
import { Problem } from '../parts/problem';
import { useTitle } from '../parts/title';
import { Unsaved } from '../parts/unsaved';
import { useLive } from '../live/overview';
import { useMe } from '../shell/session';
import { count, plural } from '../text/format';
import { fleetLink } from '../text/urlstate';
import { ReadingsEditor } from './readingseditor';
import { SchemaEditor } from './schemaeditor';
import './types.css';

export function Type({ name }: { name: string }) {
  useTitle(name);
  const mayWrite = mayChangeFleet(useMe().role);
  const { overview } = useLive();
  const type = useQuery({ queryKey: ['type', name], queryFn: ({ signal }) => groups.thingType(name, signal) });
  // What is edited stays under the hands of who edits it: it is read again when it was saved, not when the window is looked at again.
  const once = { enabled: type.isSuccess, staleTime: Infinity, gcTime: 0 };
  const schema = useQuery({ ...once, queryKey: ['schema', name], queryFn: ({ signal }) => api.schema(name, signal) });
  const readings = useQuery({ ...once, queryKey: ['readings', name], queryFn: ({ signal }) => api.readings(name, signal) });
  const [schemaChanged, setSchemaChanged] = useState(false);
  const [readingsChanged, setReadingsChanged] = useState(false);

  const broken = [type, schema, readings].find((query) => query.error && query.data === undefined);
  if (broken) return <Problem error={broken.error} retry={() => broken.refetch()} />;
  if (!type.data || schema.data === undefined || readings.data === undefined) return <Placeholder rows={10} />;
  const { thingTypeMetadata, thingTypeProperties } = type.data;
  const things = overview?.byType[name] ?? 0;
  return (
    <div className="page">
      <header className="page-head">
        <p>
          <Link href="/types">Types</Link>
        </p>
        <h1>{name}</h1>
        {thingTypeMetadata.deprecated && <StatusText status="warn">deprecated</StatusText>}
        <Link className="number" href={fleetLink({ type: name })}>
          {count(things)} {plural(things, 'thing')}
        </Link>
        <p className="muted">{thingTypeProperties.thingTypeDescription}</p>
        {!mayWrite && (
          <>
            <span className="spread" />
            <span className="muted">Operators and admins change it.</span>
          </>
        )}
      </header>
      <SchemaEditor type={name} stored={schema.data} mayWrite={mayWrite} onChanged={setSchemaChanged} />
      <ReadingsEditor type={name} stored={readings.data} mayWrite={mayWrite} onChanged={setReadingsChanged} />
      {(schemaChanged || readingsChanged) && <Unsaved />}
    </div>
  );
}
