import { flushSync } from 'react-dom';

/** Writes text into a field and sets the caret there, at once: one that is placed in a later frame would split what is typed until then. */
export function writeAt(field: HTMLInputElement | HTMLTextAreaElement | null, caret: number, write: () => void) {
  flushSync(write);
  field?.focus();
  field?.setSelectionRange(caret, caret);
}
