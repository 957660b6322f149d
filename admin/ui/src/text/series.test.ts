import { expect, test } from 'vitest';
import { asRecorded, onRaster, pauses } from './series';

test('a pause is a step far longer than its neighbors', () => {
  const f = (times: number[], want: number[]) => expect(pauses(times).flatMap((pause, index) => (pause ? [index] : []))).toEqual(want);
  f([0, 5, 10, 15, 100, 105, 110], [4]);
  // a change of rate is none, in either direction
  f([0, 60, 120, 180, 185, 190, 195], []);
  f([0, 5, 10, 15, 75, 135, 195], []);
  // jitter below a few seconds is none
  f([0, 0.1, 0.2, 3.2, 3.3], []);
  // too few to know the rate
  f([0, 100], []);
  f([], []);
});

test('the line breaks in a pause and where there is no number', () => {
  const samples: [number, string][] = [
    [0, '1'],
    [5, '2'],
    [10, 'NaN'],
    [100, '4'],
    [105, '5'],
  ];
  expect(asRecorded(samples)).toEqual({ times: [0, 5, 10, 55, 100, 105], values: [1, 2, null, null, 4, 5] });
});

test('a raster has a place for each step', () => {
  const samples: [number, string][] = [
    [10, '1'],
    [30, '3'],
  ];
  expect(onRaster(samples, { start: 0, end: 40, step: 10 })).toEqual({ times: [0, 10, 20, 30, 40], values: [null, 1, null, 3, null] });
});
