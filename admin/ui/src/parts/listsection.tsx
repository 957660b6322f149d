import type { UseQueryResult } from '@tanstack/react-query';
import { count } from '../text/format';
import { Placeholder } from './late';
import { Problem } from './problem';

interface ListSectionProps<T> {
  id: string;
  title: string;
  list: UseQueryResult<T[]>;
  /** Said where the list is empty. */
  none: string;
  children: (items: T[]) => React.ReactNode;
}

/** A list with its heading and how many there are; until it is here, what is the matter. */
export function ListSection<T>({ id, title, list, none, children }: ListSectionProps<T>) {
  return (
    <section className="section" aria-labelledby={id}>
      <div className="section-head">
        <h2 id={id}>{title}</h2>
        {list.data && <span className="muted">{count(list.data.length)}</span>}
      </div>
      {list.error ? (
        <Problem error={list.error} retry={() => list.refetch()} />
      ) : !list.data ? (
        <Placeholder rows={4} />
      ) : list.data.length === 0 ? (
        <p className="muted">{none}</p>
      ) : (
        children(list.data)
      )}
    </section>
  );
}
