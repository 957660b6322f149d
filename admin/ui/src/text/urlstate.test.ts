import { expect, test } from 'vitest';
import { codeOf, exploreLink, type FleetView, fleetLink, raster, readDevice, readExplore, readFleet, safeTarget, writeDevice, writeExplore, writeFleet, nameIn } from './urlstate';

test('the fleet view survives its URL', () => {
  const views: FleetView[] = [
    { q: '', state: '', type: '', sort: 'name', columns: undefined },
    { q: 'site 17 & "x"=#', state: 'offline', type: 'street-light', sort: 'lastSeen', columns: ['site', 'fw'] },
    { q: 'ä', state: 'never', type: '', sort: 'name', columns: [] },
  ];
  for (const view of views) expect(readFleet(new URLSearchParams(writeFleet(view).toString()))).toEqual(view);
});

test('defaults leave no trace, broken values mean the default', () => {
  expect(fleetLink({})).toBe('/fleet');
  expect(fleetLink({ state: 'never' })).toBe('/fleet?state=never');
  expect(readFleet(new URLSearchParams('state=x&sort=drop&cols=a,b,c,d')).columns).toEqual(['a', 'b', 'c']);
  expect(readFleet(new URLSearchParams('state=x&sort=drop')).sort).toBe('name');
  expect(readDevice(new URLSearchParams('range=9y&from=5&to=3'))).toEqual({ metric: '', range: '1h', zoom: undefined, asTable: false });
});

test('the device view survives its URL', () => {
  const view = { metric: 'power_w', range: '6h' as const, zoom: { from: 1_800_000_000, to: 1_800_000_600 }, asTable: true };
  expect(readDevice(new URLSearchParams(writeDevice(view).toString()))).toEqual(view);
});

test('the view of Explore survives its URL', () => {
  const view = { q: 'sum by (city) (power_w{a="b&c"})', range: '7d' as const, zoom: { from: 1_800_000_000, to: 1_800_000_600 }, asTable: true };
  expect(readExplore(new URLSearchParams(writeExplore(view).toString()))).toEqual(view);
  expect(exploreLink({ q: 'up' })).toBe('/explore?q=up');
  expect(readExplore(new URLSearchParams('range=9y&from=5&to=3'))).toEqual({ q: '', range: '1h', zoom: undefined, asTable: false });
});

test('a raster has round steps and holds the whole span', () => {
  expect(raster(1000, 4600, 600)).toEqual({ start: 1000, end: 4600, step: 10 });
  const day = raster(7, 86_407, 600);
  expect(day.step).toBe(300);
  expect(day.start).toBeLessThanOrEqual(7);
  expect(day.end).toBeGreaterThanOrEqual(86_407);
  expect((day.end - day.start) / day.step).toBeLessThanOrEqual(600);
});

test('after signing in we stay at home', () => {
  expect(safeTarget('/fleet?q=a#b')).toBe('/fleet?q=a#b');
  for (const bad of [null, '', 'https://example.com', '//example.com', '/\\example.com', '/login?to=/login']) expect(safeTarget(bad)).toBe('/');
});

test('the code in the fragment', () => {
  expect(codeOf('#code=ab-cd')).toBe('ab-cd');
  expect(codeOf('')).toBe('');
});

test('a name in an address may have any character that names have', () => {
  for (const name of ['site:lamp-1', 'a+=,.@-_b', 'plain']) expect(nameIn(encodeURIComponent(name))).toBe(name);
  expect(nameIn('50%')).toBe('50%');
});
