import { Link } from 'wouter';
import type { SchemaCheck } from '../api/schemas';
import { StatusText } from '../parts/glyph';
import { count, plural } from '../text/format';
import { type AttributeRow, breakingQuery } from '../text/schema';
import { fleetLink } from '../text/urlstate';

const named = 5;

interface SchemaEffectProps {
  type: string;
  rows: AttributeRow[];
  check: SchemaCheck;
  /** It is not in force yet. */
  draft: boolean;
}

/** How many things a schema is about, which of them break it, and why. */
export function SchemaEffect({ type, rows, check, draft }: SchemaEffectProps) {
  const { things, violating, examples } = check;
  const would = draft ? 'would break' : violating === 1 ? 'breaks' : 'break';
  if (things === 0) return <p className="muted">No thing has this type yet.</p>;
  if (violating === 0) {
    return (
      <p>
        <StatusText status="ok">
          {count(things)} {plural(things, 'thing has', 'things have')} this type, and none {draft ? 'would break' : 'breaks'} the schema.
        </StatusText>
      </p>
    );
  }
  const { q, exact } = breakingQuery(rows, check);
  return (
    <>
      <p>
        <StatusText status="warn">
          {count(violating)} of {count(things)} {plural(things, 'thing')} of this type {would} the schema
        </StatusText>
        <span className="muted">: {violating === 1 ? 'it stays as it is until it is' : 'they stay as they are until they are'} changed.</span>
      </p>
      <ul>
        {examples.slice(0, named).map(({ thingName, message }) => (
          <li key={thingName}>
            <Link href={`/fleet/${encodeURIComponent(thingName)}`} className="mono">
              {thingName}
            </Link>{' '}
            <span className="muted">{message}</span>
          </li>
        ))}
        {violating > named && <li className="muted">and {count(violating - named)} more</li>}
      </ul>
      <p className="schema-link">
        <Link href={fleetLink({ type, q })}>{exact ? `Show ${violating === 1 ? 'it' : `these ${count(violating)}`} in the fleet` : 'Show the first of them in the fleet'}</Link>
      </p>
    </>
  );
}
