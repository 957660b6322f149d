import { expect, test } from 'vitest';
import { allOfThing, differing, matchOf, mistakeIn, offers, ofMetric, ofThing, placeAt, seriesName } from './promql';

test('selectors', () => {
  expect(ofThing('power_w', 'lamp-1')).toBe('power_w{thing="lamp-1"}');
  expect(ofThing('door.temp', 'a"b\\c')).toBe('{"door.temp", thing="a\\"b\\\\c"}');
  expect(allOfThing('lamp-1')).toBe('{thing="lamp-1", __name__!~".+_info"}');
});

/** The place at the | of a text, as "kind word metric label". */
function at(text: string): string {
  const caret = text.indexOf('|');
  const place = placeAt(text.replace('|', ''), caret);
  return place ? [place.kind, place.word, place.metric, place.label, `${place.from}-${place.to}`].join(' ') : 'none';
}

test('what is being written', () => {
  expect(at('|')).toBe('metric    0-0');
  expect(at('pow|')).toBe('metric pow   0-3');
  expect(at('sum(po|wer)')).toBe('metric po   4-9');
  expect(at('power_w{|')).toBe('label  power_w  8-8');
  expect(at('power_w{ci|ty="ulm"}')).toBe('label ci power_w  8-12');
  expect(at('power_w{city="u|l"}')).toBe('value u power_w city 14-16');
  expect(at('power_w{city="|')).toBe('value  power_w city 14-14');
  expect(at('power_w{city="ulm",th|')).toBe('label th power_w  19-21');
  expect(at('power_w{city=~"a\\"|')).toBe('value a\\" power_w city 15-18');
  expect(at('sum by (ci|')).toBe('label ci   8-10');
  expect(at('sum by (city) (po|')).toBe('metric po   15-17');
  expect(at('a + on(thing) b|')).toBe('metric b   14-15');
  for (const none of ['power_w[5|', 'power_w{city="ulm"}|', 'power_w |', 'power_w{city|=', '1|', '"a|', '# comment|']) expect(at(none.replace('city|=', 'city=|'))).toBe('none');
});

test('what may be put there', () => {
  expect(offers(['temp_c', 'power_w', 'Power', 'max_power'], 'pow', 9)).toEqual(['power_w', 'Power', 'max_power']);
  expect(offers(['a', 'b', 'c'], '', 2)).toEqual(['a', 'b']);
  expect(matchOf({ metric: 'power_w', label: 'city', word: 'u.l"' })).toBe('power_w{city=~"u\\\\.l\\".*"}');
  expect(ofMetric('door.temp')).toBe('{"door.temp"}');
});

test('where a mistake is', () => {
  expect(mistakeIn('sum(', 'invalid parameter "query": 1:5: parse error: unclosed left parenthesis')).toEqual({ at: 4, message: 'unclosed left parenthesis' });
  expect(mistakeIn('a{b="ü"} )', '1:11: parse error: unexpected right parenthesis')?.at).toBe(9);
  expect(mistakeIn('a +\n  * b', '2:3: parse error: unexpected <op:*>')?.at).toBe(6);
  expect(mistakeIn('a', 'the query took too long')).toBeUndefined();
});

test('names of series', () => {
  const series = [
    { __name__: 'power_w', thing: 'a', city: 'ulm' },
    { __name__: 'power_w', thing: 'b', city: 'ulm' },
  ];
  expect(differing(series)).toEqual(['thing']);
  expect(seriesName(series[0]!, ['thing'])).toBe('{thing="a"}');
  expect(seriesName(series[0]!, ['__name__', 'thing'])).toBe('power_w{thing="a"}');
  expect(seriesName(series[0]!, [])).toBe('power_w');
  expect(seriesName({}, [])).toBe('{}');
});
