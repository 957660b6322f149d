import { expect, test } from 'vitest';
import { charsBefore, markedAt, replaceChars, wholeQuery } from './query';

test('places are characters, not units', () => {
  expect(charsBefore('🚲 ulm', 3)).toBe(2);
  expect(replaceChars('🚲 ul x', 2, 4, 'ulm')).toEqual({ text: '🚲 ulm x', caret: 6 });
});

test('a place behind the end is marked, too', () => {
  expect(markedAt('a🚲c', 1)).toEqual(['a', '🚲', 'c']);
  expect(markedAt('a AND (', 7)).toEqual(['a AND (', ' ', '']);
  expect(markedAt('a', 99)).toEqual(['a', ' ', '']);
});

test('filters become terms', () => {
  expect(wholeQuery({ q: 'attributes.city:ulm', state: '', type: '' })).toBe('attributes.city:ulm');
  expect(wholeQuery({ q: 'a OR b', state: 'offline', type: 'street-light' })).toBe('(a OR b) AND connectivity.connected:false AND thingTypeName:street-light');
  expect(wholeQuery({ q: '', state: 'never', type: '' })).toBe('NOT connectivity.connected:*');
});
