// The one search box. Its text is a fleet query: the list's filter there, from any other page the way to it. It says what may come next.
import { IconSearch } from '@tabler/icons-react';
import { keepPreviousData, useQuery } from '@tanstack/react-query';
import { useEffect, useId, useRef, useState } from 'react';
import { useLocation, useSearchParams } from 'wouter';
import * as gateway from '../api/gateway';
import { writeAt } from '../parts/caret';
import { Suggestions } from '../parts/suggestions';
import { count } from '../text/format';
import { charsBefore, replaceChars } from '../text/query';
import { readFleet, writeFleet } from '../text/urlstate';

/** Whether keys belong to a field that is being written in. */
export function typing(target: EventTarget | null): boolean {
  return target instanceof HTMLElement && (target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName));
}

const noteOf = ({ kind, things }: gateway.Completion['items'][number]) => (things !== undefined ? count(things) : kind === 'keyword' ? '' : kind);

export function QueryBar() {
  const [path, navigate] = useLocation();
  const [params] = useSearchParams();
  const inFleet = path === '/fleet';
  const asked = inFleet ? readFleet(params).q : '';
  const [text, setText] = useState(asked);
  const [caret, setCaret] = useState(0);
  const [open, setOpen] = useState(false);
  const [active, setActive] = useState(-1);
  const input = useRef<HTMLInputElement>(null);
  const timer = useRef<ReturnType<typeof setTimeout>>(undefined);
  const listId = useId();

  useEffect(() => {
    if (document.activeElement !== input.current) setText(asked);
  }, [asked, inFleet]);

  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      if (event.key !== '/' || event.ctrlKey || event.metaKey || event.altKey || typing(event.target)) return;
      event.preventDefault();
      input.current?.focus();
      input.current?.select();
    };
    document.addEventListener('keydown', onKey);
    return () => document.removeEventListener('keydown', onKey);
  }, []);

  const at = charsBefore(text, caret);
  const completion = useQuery({
    queryKey: ['complete', text, at],
    queryFn: ({ signal }) => gateway.complete(text, at, signal),
    enabled: open,
    placeholderData: keepPreviousData,
    staleTime: 5000,
    retry: false,
  });
  const items = (open && completion.data?.items) || [];
  const shown = items.length > 0;

  const ask = (q: string, replace: boolean) => {
    clearTimeout(timer.current);
    const current = inFleet ? readFleet(new URLSearchParams(location.search)) : {};
    const query = writeFleet({ ...current, q }).toString();
    navigate(query ? `/fleet?${query}` : '/fleet', { replace });
  };
  const write = (value: string, place: number) => {
    setText(value);
    setCaret(place);
    setActive(-1);
    clearTimeout(timer.current);
    if (inFleet) timer.current = setTimeout(() => ask(value.trim(), true), 150);
  };
  const take = (index: number) => {
    const item = items[index];
    // An answer for what was there before is for other places.
    if (!item || completion.isPlaceholderData) return;
    const next = replaceChars(text, completion.data!.from, completion.data!.to, item.kind === 'value' || item.kind === 'group' ? `${item.text} ` : item.text);
    writeAt(input.current, next.caret, () => write(next.text, next.caret));
  };
  const onKeyDown = (event: React.KeyboardEvent) => {
    if (event.key === 'Escape') {
      event.preventDefault(); // the browser would empty the field
      if (shown) setOpen(false);
      else input.current?.blur();
    } else if ((event.key === 'ArrowDown' || event.key === 'ArrowUp') && items.length > 0) {
      event.preventDefault();
      setActive((active + (event.key === 'ArrowDown' ? 1 : active < 0 ? 0 : -1) + items.length) % items.length);
    } else if ((event.key === 'Enter' || event.key === 'Tab') && shown && active >= 0) {
      event.preventDefault();
      take(active);
    }
  };

  return (
    <form
      role="search"
      className="search"
      onSubmit={(event) => {
        event.preventDefault();
        setOpen(false);
        ask(text.trim(), inFleet);
      }}
    >
      <IconSearch size={16} stroke={1.5} aria-hidden="true" />
      <input
        ref={input}
        type="search"
        role="combobox"
        aria-label="Search the fleet"
        aria-autocomplete="list"
        aria-expanded={shown}
        aria-controls={shown ? listId : undefined}
        aria-activedescendant={shown && active >= 0 ? `${listId}-${active}` : undefined}
        placeholder="Search things: a name, attributes.city:ulm, telemetry.temp_c>60"
        autoComplete="off"
        spellCheck={false}
        value={text}
        onChange={(event) => {
          setOpen(true);
          write(event.target.value, event.target.selectionStart ?? event.target.value.length);
        }}
        onSelect={(event) => setCaret(event.currentTarget.selectionStart ?? 0)}
        onFocus={() => setOpen(true)}
        onBlur={() => setOpen(false)}
        onKeyDown={onKeyDown}
      />
      <kbd aria-hidden="true">/</kbd>
      {shown && (
        <Suggestions id={listId} active={active} onTake={take} items={items.map((item) => ({ text: item.text, note: noteOf(item) }))} />
      )}
    </form>
  );
}
