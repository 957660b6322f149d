// The field for a PromQL expression: it offers metrics, labels and their values as far as they are written, and nothing by itself.
import { Textarea } from '@mantine/core';
import { keepPreviousData, useQuery } from '@tanstack/react-query';
import { useEffect, useId, useRef, useState } from 'react';
import * as prometheus from '../api/prometheus';
import { writeAt } from '../parts/caret';
import { Suggestions } from '../parts/suggestions';
import { functions, matchOf, offers, ofMetric, type Place, placeAt, quoted } from '../text/promql';

const most = 12;

interface Offer {
  text: string;
  note: string;
  /** What is put in the place. */
  insert: string;
}

/** What may stand at a place. Names are asked for once and picked from here, values by what is written of them. */
function useOffers(place: Place | undefined): Offer[] {
  const metrics = useQuery({ queryKey: ['metrics'], queryFn: ({ signal }) => prometheus.metricNames(signal), staleTime: 60_000, enabled: place?.kind === 'metric' });
  const labels = useQuery({
    queryKey: ['labels', place?.metric],
    queryFn: ({ signal }) => prometheus.labelNames(place?.metric ?? '', signal),
    staleTime: 60_000,
    enabled: place?.kind === 'label',
  });
  const match = place?.kind === 'value' ? matchOf(place) : '';
  const values = useQuery({
    queryKey: ['values', place?.label, match],
    queryFn: ({ signal }) => prometheus.labelValues(place!.label, match, signal),
    staleTime: 10_000,
    enabled: place?.kind === 'value',
    placeholderData: keepPreviousData,
    retry: false,
  });
  if (!place) return [];
  switch (place.kind) {
    case 'metric':
      return [
        ...offers(metrics.data ?? [], place.word, most).map((text) => ({ text, note: 'metric', insert: ofMetric(text) })),
        ...offers(place.word ? functions : [], place.word, 6)
          .filter((text) => text.startsWith(place.word))
          .map((text) => ({ text, note: 'function', insert: `${text}(` })),
      ];
    case 'label':
      return offers((labels.data ?? []).filter((name) => name !== '__name__'), place.word, most).map((text) => ({
        text,
        note: 'label',
        insert: place.metric ? `${text}="` : text,
      }));
    case 'value':
      return offers(values.data ?? [], place.word, most).map((text) => ({ text, note: place.label, insert: quoted(text).slice(1, -1) }));
  }
}

export function PromqlField({ value, onRun }: { value: string; onRun: (text: string) => void }) {
  const [text, setText] = useState(value);
  const [caret, setCaret] = useState(0);
  const [open, setOpen] = useState(false);
  const [active, setActive] = useState(-1);
  const field = useRef<HTMLTextAreaElement>(null);
  const listId = useId();
  useEffect(() => setText(value), [value]);

  const place = open ? placeAt(text, caret) : undefined;
  const items = useOffers(place).filter((item) => item.insert !== place?.word);
  const shown = items.length > 0;

  const take = (index: number) => {
    const item = items[index];
    if (!item || !place) return;
    const before = text.slice(0, place.from) + item.insert;
    writeAt(field.current, before.length, () => {
      setText(before + text.slice(place.to));
      setCaret(before.length);
      setActive(-1);
    });
  };
  const onKeyDown = (event: React.KeyboardEvent) => {
    if (event.key === 'Escape' && shown) {
      event.preventDefault();
      setOpen(false);
    } else if ((event.key === 'ArrowDown' || event.key === 'ArrowUp') && shown) {
      event.preventDefault();
      setActive((active + (event.key === 'ArrowDown' ? 1 : active < 0 ? 0 : -1) + items.length) % items.length);
    } else if ((event.key === 'Enter' || event.key === 'Tab') && shown && active >= 0) {
      event.preventDefault();
      take(active);
    } else if (event.key === 'Enter' && !event.shiftKey) {
      event.preventDefault();
      setOpen(false);
      onRun(text.trim());
    } else if (event.key === ' ' && event.ctrlKey) {
      event.preventDefault();
      setOpen(true);
    }
  };

  return (
    <div className="promql">
      <Textarea
        ref={field}
        aria-label="PromQL expression"
        aria-autocomplete="list"
        aria-controls={shown ? listId : undefined}
        aria-activedescendant={shown && active >= 0 ? `${listId}-${active}` : undefined}
        classNames={{ input: 'mono' }}
        placeholder="avg by (thing_type) (temp_c)"
        autoComplete="off"
        autoCapitalize="off"
        spellCheck={false}
        autosize
        minRows={1}
        maxRows={12}
        value={text}
        onChange={(event) => {
          setOpen(true);
          setActive(-1);
          setText(event.currentTarget.value);
          setCaret(event.currentTarget.selectionStart);
        }}
        onSelect={(event) => setCaret(event.currentTarget.selectionStart)}
        onBlur={() => setOpen(false)}
        onKeyDown={onKeyDown}
      />
      {shown && <Suggestions id={listId} active={active} onTake={take} items={items} />}
    </div>
  );
}
