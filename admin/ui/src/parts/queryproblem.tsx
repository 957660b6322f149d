import { sentence } from '../api/client';
import { markedAt } from '../text/query';
import { StatusText } from './glyph';
import './queryproblem.css';

/** A query that cannot be read, with the place marked; `at` is in characters from 0. */
export function QueryProblem({ query, at, message }: { query: string; at: number; message: string }) {
  const [before, marked, after] = markedAt(query, at);
  return (
    <div className="empty" role="alert">
      <pre className="query-problem">
        {before}
        <mark>{marked}</mark>
        {after}
      </pre>
      <p>
        <StatusText status="bad">{sentence(message)}</StatusText>
      </p>
    </div>
  );
}
