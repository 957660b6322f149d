// Texts of fleet queries at a caret. The gateway counts characters (code points), a browser UTF-16 units.

/** A caret's place in characters. */
export function charsBefore(text: string, units: number): number {
  return [...text.slice(0, units)].length;
}

/** The text with characters from..to replaced, and the caret behind what was put there, in UTF-16 units. */
export function replaceChars(text: string, from: number, to: number, by: string): { text: string; caret: number } {
  const chars = [...text];
  const before = chars.slice(0, from).join('') + by;
  return { text: before + chars.slice(to).join(''), caret: before.length };
}

/** A text parted at a character, so that it can be marked; behind the end, a space is marked. */
export function markedAt(text: string, at: number): [before: string, marked: string, after: string] {
  const chars = [...text];
  const place = Math.min(Math.max(at, 0), chars.length);
  return [chars.slice(0, place).join(''), chars[place] ?? ' ', chars.slice(place + 1).join('')];
}

const plain = /^[\p{L}\p{N}_.-]+$/u;

/** What the fleet list shows, as one query: its text and its filters. */
export function wholeQuery({ q, state, type }: { q: string; state: string; type: string }): string {
  const filters = [
    state === 'connected' && 'connectivity.connected:true',
    state === 'offline' && 'connectivity.connected:false',
    state === 'never' && 'NOT connectivity.connected:*',
    type && `thingTypeName:${plain.test(type) ? type : JSON.stringify(type)}`,
  ].filter(Boolean);
  if (filters.length === 0) return q;
  return [q && (/\bOR\b/.test(q) ? `(${q})` : q), ...filters].filter(Boolean).join(' AND ');
}
