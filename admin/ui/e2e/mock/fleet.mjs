// A made-up fleet, the same one for the same size: things, their last values and an hour of history as formulas.

const sites = ['site-01', 'site-04', 'site-17', 'site-22', 'site-31'];
const firmware = ['2.4.1', '2.4.1', '2.4.1', '2.4.0', '2.3.9'];
const reasons = ['keep-alive timeout', 'keep-alive timeout', 'connection reset by peer', 'closed by the device'];

/** Numbers in [0,1) from a seed (mulberry32). */
export function randomOf(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

export function makeFleet(size) {
  const random = randomOf(7);
  const pick = (list) => list[Math.floor(random() * list.length)];
  const now = Date.now();
  const things = [];
  for (let i = 0; i < size; i++) {
    const lamp = i % 4 !== 3;
    const name = lamp ? `lamp-${String(i + 1).padStart(6, '0')}` : `van-${String(i + 1).padStart(5, '0')}`;
    const fate = random();
    const connected = fate > 0.02;
    const never = fate < 0.005;
    const offlineFor = Math.floor(random() ** 2 * 3 * 86_400_000) + 60_000;
    things.push({
      seed: i + 1,
      thingName: name,
      thingId: `00000000-0000-4000-8000-${String(i).padStart(12, '0')}`,
      thingTypeName: lamp ? 'street-light' : 'vehicle',
      attributes: lamp ? { site: pick(sites), fw: pick(firmware), pole: `P-${1000 + i}` } : { depot: pick(sites), fw: pick(firmware) },
      connected,
      sinceMs: never ? 0 : connected ? now - Math.floor(random() * 4 * 3_600_000) : now - offlineFor,
      lastSeenMs: never ? 0 : connected ? now - Math.floor(random() * 5000) : now - offlineFor,
      remote: never ? '' : `10.4.${i >> 8}.${i & 255}:${40000 + (i % 20000)}`,
      reason: connected || never ? '' : pick(reasons),
      version: 1 + (i % 3),
      createdMs: now - 20 * 86_400_000 + i * 1000,
      certificates: never ? [] : [{ certificateId: i.toString(16).padStart(64, '0'), status: 'ACTIVE', notAfterMs: now + (i % 90) * 86_400_000 + 3_600_000 }],
    });
  }
  things.sort((a, b) => (a.thingName < b.thingName ? -1 : 1));
  return things;
}

const wave = (at, period, phase) => Math.sin((2 * Math.PI * at) / period + phase);

/** The numeric columns of a thing: name -> value at a time in Unix seconds. */
export function columnsOf(thing) {
  const { seed } = thing;
  const noise = (at, salt) => randomOf(Math.floor(at) * 31 + seed * 7 + salt)() - 0.5;
  const round = (value, digits) => Number(value.toFixed(digits));
  if (thing.thingTypeName === 'street-light') {
    return {
      brightness: (at) => (wave(at, 7200, seed) > -0.3 ? 80 : 30),
      energy_wh: (at) => round(120_000 + seed * 10 + (at % 864_000) / 90, 1),
      lamp_on: (at) => (wave(at, 5400, seed) > 0 ? 1 : 0),
      power_w: (at) => round(38 + 6 * wave(at, 3600, seed) + 2 * noise(at, 1), 1),
      rssi_dbm: (at) => Math.round(-71 + 6 * noise(at, 2)),
      temp_c: (at) => round(24 + 5 * wave(at, 9000, seed / 3) + 0.4 * noise(at, 3), 1),
      uptime_s: (at) => Math.floor(at % 864_000),
      voltage_v: (at) => round(230 + 1.5 * wave(at, 1700, seed) + 0.8 * noise(at, 4), 2),
    };
  }
  return {
    battery_pct: (at) => round(60 + 30 * wave(at, 40_000, seed), 1),
    engine_rpm: (at) => Math.max(0, Math.round(1800 + 900 * wave(at, 600, seed) + 300 * noise(at, 5))),
    lat_deg: (at) => round(52.1 + 0.02 * wave(at, 9000, seed), 5),
    lon_deg: (at) => round(11.6 + 0.02 * wave(at, 8000, seed), 5),
    speed_kmh: (at) => round(Math.max(0, 42 + 30 * wave(at, 900, seed) + 8 * noise(at, 6)), 1),
  };
}

export function twinOf(thing) {
  if (thing.lastSeenMs === 0) return [];
  const at = thing.lastSeenMs / 1000;
  const fields = Object.entries(columnsOf(thing)).map(([name, value]) =>
    name === 'lamp_on' ? { name, kind: 'bool', value: value(at) === 1, timeMs: thing.lastSeenMs } : { name, kind: 'number', value: value(at), timeMs: thing.lastSeenMs },
  );
  fields.push({ name: 'fw', kind: 'string', value: thing.attributes.fw, timeMs: thing.lastSeenMs - 3_600_000 });
  return fields.sort((a, b) => (a.name < b.name ? -1 : 1));
}
