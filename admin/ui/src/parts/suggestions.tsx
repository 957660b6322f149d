import { useEffect, useRef } from 'react';
import './suggestions.css';

export interface Suggestion {
  text: string;
  /** What it is, or how many there are. */
  note: string;
}

interface SuggestionsProps {
  /** For aria-controls of the field; an option's id is this, a dash and its index. */
  id: string;
  items: Suggestion[];
  /** The chosen one; -1: none. */
  active: number;
  onTake: (index: number) => void;
}

/** What may come next in a field, below it. The field has the keys; this has the pointer. */
export function Suggestions({ id, items, active, onTake }: SuggestionsProps) {
  const list = useRef<HTMLUListElement>(null);
  useEffect(() => {
    if (active >= 0) list.current?.children[active]?.scrollIntoView({ block: 'nearest' });
  }, [active]);
  return (
    <ul ref={list} id={id} role="listbox" aria-label="What may come next" className="suggestions">
      {items.map((item, index) => (
        <li
          key={item.text}
          id={`${id}-${index}`}
          role="option"
          aria-selected={index === active}
          // Not a click: the field would lose the focus first, and the list would be gone.
          onPointerDown={(event) => {
            event.preventDefault();
            onTake(index);
          }}
        >
          <span className="mono clip">{item.text}</span>
          <span className="muted">{item.note}</span>
        </li>
      ))}
    </ul>
  );
}
