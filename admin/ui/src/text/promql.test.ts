import { expect, test } from 'vitest';
import { allOfThing, ofThing } from './promql';

test('selectors', () => {
  expect(ofThing('power_w', 'lamp-1')).toBe('power_w{thing="lamp-1"}');
  expect(ofThing('door.temp', 'a"b\\c')).toBe('{"door.temp", thing="a\\"b\\\\c"}');
  expect(allOfThing('lamp-1')).toBe('{thing="lamp-1", __name__!~".+_info"}');
});
