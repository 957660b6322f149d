// Who changed what, and who tried and was refused; the newest first.
import { Button } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { useState } from 'react';
import * as gateway from '../api/gateway';
import { StatusText } from '../parts/glyph';
import { Placeholder } from '../parts/late';
import { Problem } from '../parts/problem';
import { Moment } from '../parts/time';
import { useTitle } from '../parts/title';
import { count } from '../text/format';

const pageSize = 100;
const most = 1000;

export function Audit() {
  useTitle('Audit');
  const [limit, setLimit] = useState(pageSize);
  const lines = useQuery({
    queryKey: ['audit', limit],
    queryFn: ({ signal }) => gateway.audit(limit, signal),
    refetchInterval: 10_000,
    placeholderData: (before) => before,
  });
  return (
    <div className="page">
      <header className="page-head">
        <h1>Audit</h1>
        <p className="muted">Every change and every refusal, newest first. Each line seals the one before it.</p>
      </header>
      <section className="section" aria-label="Audit lines">
        {lines.error && !lines.data ? (
          <Problem error={lines.error} retry={() => lines.refetch()} />
        ) : !lines.data ? (
          <Placeholder rows={10} />
        ) : lines.data.length === 0 ? (
          <p className="muted">Nothing was changed yet.</p>
        ) : (
          <>
            <table className="grid">
              <thead>
                <tr>
                  <th>Time</th>
                  <th>Who</th>
                  <th>From</th>
                  <th>Operation</th>
                  <th>Target</th>
                  <th>Result</th>
                </tr>
              </thead>
              <tbody>
                {lines.data.map((line) => (
                  <tr key={line.seq}>
                    <td>
                      <Moment ms={line.timeMs} />
                    </td>
                    <td title={line.via}>{line.who || <span className="muted">{line.via === 'certificate' ? 'the device' : 'unknown'}</span>}</td>
                    <td className="mono">{line.from}</td>
                    <td>{line.operation}</td>
                    <td className="fill clip mono" title={line.target}>
                      {line.target}
                    </td>
                    <td>
                      <StatusText status={line.result === 'ok' ? 'ok' : 'bad'}>{line.result}</StatusText>
                    </td>
                  </tr>
                ))}
              </tbody>
            </table>
            {lines.data.length >= limit && limit < most && (
              <Button mt={12} onClick={() => setLimit(Math.min(most, limit + 3 * pageSize))}>
                Show more than {count(limit)}
              </Button>
            )}
          </>
        )}
      </section>
    </div>
  );
}
