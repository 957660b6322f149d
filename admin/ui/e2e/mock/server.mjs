// A stand-in for the gateway, for work on the UI alone: the committed bundle with the gateway's content policy, and its HTTP
// interface over a made-up fleet. Run: node e2e/mock/server.mjs [--things 200] [--port 0] [--setup]
import { randomBytes } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { join, normalize } from 'node:path';
import { parseArgs } from 'node:util';
import { columnsOf, makeFleet, twinOf } from './fleet.mjs';

const dist = new URL('../../dist', import.meta.url).pathname;
const policy =
  "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";
const types = { html: 'text/html; charset=utf-8', js: 'text/javascript', css: 'text/css', svg: 'image/svg+xml', woff2: 'font/woff2', txt: 'text/plain; charset=utf-8' };

class Refused extends Error {
  constructor(status, kind, message) {
    super(message);
    Object.assign(this, { status, kind });
  }
}

/** Starts a stand-in; answers its address, its one-time code and how to stop it. */
export async function startMock({ things: size = 200, port = 0, setup = false } = {}) {
  const fleet = makeFleet(size);
  const code = 'MOCK-CODE-0001';
  const started = Date.now();
  const sessions = new Map();
  const users = new Map();
  const streams = new Set();
  let setupNeeded = setup;
  let paused = false;
  let allowed = fleet.slice(0, Math.min(40, size)).map((thing, index) => ({
    thingName: thing.thingName,
    spkiSha256: thing.seed.toString(16).padStart(64, 'a7'),
    thingTypeName: thing.thingTypeName,
    addedMs: thing.createdMs,
    usedMs: index % 5 === 4 ? 0 : thing.createdMs + 60_000,
  }));
  let tokens = size === 0 ? [] : [{ id: 'tok-1', name: 'grafana', role: 'viewer', createdMs: started - 9e8, expiresMs: started + 60 * 86_400_000, lastUsedMs: started - 40_000 }];
  const auditLines = [];
  const note = (who, operation, target, result = 'ok') =>
    auditLines.unshift({ seq: auditLines.length + 1, timeMs: Date.now(), who, role: 'admin', via: 'session', from: '10.0.0.7', operation, target, result, status: result === 'ok' ? 200 : 403 });
  note('', 'login', 'ana', 'denied');
  for (const entry of allowed.slice(0, 12)) note('ana', 'allow.add', entry.thingName);

  const overview = () => {
    const seconds = (Date.now() - started) / 1000;
    const connected = fleet.filter((thing) => thing.connected).length - (Math.floor(seconds / 7) % 3);
    const rate = (size / 5) * (1 + 0.12 * Math.sin(seconds / 11) + 0.05 * Math.sin(seconds * 3));
    const byType = {};
    for (const thing of fleet) byType[thing.thingTypeName] = (byType[thing.thingTypeName] ?? 0) + 1;
    return {
      things: size,
      connected: Math.max(0, connected),
      neverSeen: fleet.filter((thing) => thing.lastSeenMs === 0).length,
      byType,
      messagesTotal: Math.floor(4_120_000 + (size / 5) * seconds),
      messagesPerSecond: rate,
      samplesTotal: Math.floor(29_000_000 + (size / 5) * 7 * seconds),
      samplesPerSecond: rate * 7,
      series: size * 7,
      bytesOnDisk: 38_400_000,
      bytesPerSample: size === 0 ? 0 : 1.32,
      refusedTotal: size === 0 ? 0 : 3,
      memoryBytes: 84_000_000,
      diskFreeBytes: 21_400_000_000,
      uptimeSeconds: Math.floor(93_000 + seconds),
      version: '0.1.0',
      ready: true,
      readyReason: '',
    };
  };

  const stateOf = (thing) => (thing.connected ? 'connected' : thing.lastSeenMs > 0 ? 'offline' : 'never');

  function listThings(params) {
    const before = performance.now();
    const q = (params.get('q') ?? '').toLowerCase();
    const state = params.get('state');
    const type = params.get('type');
    const text = (thing) => [thing.thingName, thing.thingTypeName, ...Object.values(thing.attributes)].join('\n').toLowerCase();
    for (const thing of fleet) if (thing.connected && Date.now() - thing.lastSeenMs > 6000) thing.lastSeenMs = Date.now() - (thing.seed * 37) % 5000;
    const found = fleet.filter((thing) => (!q || text(thing).includes(q)) && (!state || stateOf(thing) === state) && (!type || thing.thingTypeName === type));
    if (params.get('sort') === 'lastSeen') found.sort((a, b) => b.lastSeenMs - a.lastSeenMs);
    const from = Number(params.get('cursor') || 0);
    const limit = Math.min(1000, Number(params.get('limit') || 100));
    const next = from + limit;
    const things = found.slice(from, next).map(({ seed, thingId, createdMs, certificates, ...thing }) => thing);
    return { things, total: found.length, nextCursor: next < found.length ? String(next) : '', tookMs: performance.now() - before };
  }

  /** The attributes that there are; the real one knows values and much more. */
  function complete(params) {
    const [, word] = /(\S*)$/.exec(params.get('q') ?? '');
    const fields = new Map();
    for (const thing of fleet) for (const name in thing.attributes) fields.set(`attributes.${name}:`, (fields.get(`attributes.${name}:`) ?? 0) + 1);
    const items = [...fields].filter(([text]) => word && text.includes(word)).map(([text, things]) => ({ text, kind: 'field', things }));
    return { from: [...(params.get('q') ?? '')].length - [...word].length, to: [...(params.get('q') ?? '')].length, items, tookMs: 0.1 };
  }

  const byName = (name) => {
    const thing = fleet.find((each) => each.thingName === name);
    if (!thing) throw new Refused(404, 'notFound', `there is no thing ${name}`);
    if (thing.connected && Date.now() - thing.lastSeenMs > 5000) thing.lastSeenMs = Date.now();
    return thing;
  };

  function queryRange(form) {
    const query = form.get('query') ?? '';
    const name = /thing="([^"]*)"/.exec(query)?.[1];
    const metric = /^([a-z_]+)\{/.exec(query)?.[1];
    const thing = fleet.find((each) => each.thingName === name);
    const recorded = /\[(\d+)s\]$/.exec(query)?.[1];
    const end = Math.floor(Number(form.get('end') ?? form.get('time')));
    const step = recorded ? 5 : Number(form.get('step'));
    const start = recorded ? end - recorded : Number(form.get('start'));
    const last = thing ? Math.min(Date.now() / 1000, thing.lastSeenMs / 1000 + 300) : 0;
    const result = Object.entries(thing ? columnsOf(thing) : {})
      .filter(([column]) => !metric || column === metric)
      .map(([column, value]) => {
        const values = [];
        for (let at = start; at <= end; at += step) if (at <= last && !(at % 3600 > 2000 && at % 3600 < 2300)) values.push([at, String(value(at))]);
        return { metric: { __name__: column, thing: name }, values };
      })
      .filter((series) => series.values.length > 0);
    return { status: 'success', data: { resultType: 'matrix', result } };
  }

  const signIn = (answer, username) => {
    const session = randomBytes(16).toString('hex');
    sessions.set(session, username);
    answer.setHeader('Set-Cookie', `mock=${session}; Path=/; HttpOnly; SameSite=Strict`);
    return { username, role: 'admin' };
  };

  async function api(request, answer, url) {
    const { pathname, searchParams } = url;
    const body = request.method === 'POST' ? await read(request) : '';
    const reads = request.method === 'GET' || pathname.startsWith('/prometheus/');
    if (!reads && request.headers['x-muster'] !== '1') throw new Refused(403, 'denied', 'the header X-Muster is missing');
    const session = /mock=([0-9a-f]+)/.exec(request.headers.cookie ?? '')?.[1];
    const route = `${request.method} ${pathname}`;
    if (route === 'GET /api/setup') return { needed: setupNeeded };
    if (route === 'POST /api/setup') {
      const asked = JSON.parse(body);
      if (!setupNeeded) throw new Refused(409, 'conflict', 'this gateway is set up already: sign in');
      if (asked.code !== code) throw new Refused(403, 'denied', 'the code is wrong or older than an hour: restart the gateway for a new one');
      setupNeeded = false;
      users.set(asked.username, asked.password);
      return signIn(answer, asked.username);
    }
    if (route === 'POST /api/login') {
      const asked = JSON.parse(body);
      if (asked.code === code && !setupNeeded) return signIn(answer, 'admin');
      if (asked.username && users.get(asked.username) === asked.password) return signIn(answer, asked.username);
      throw new Refused(401, 'denied', asked.code ? 'the code is wrong, used or too old' : 'the user name or the password is wrong');
    }
    const who = sessions.get(session);
    if (!who) throw new Refused(401, 'unauthenticated', 'sign in first');
    if (route === 'POST /api/logout') return void sessions.delete(session);
    if (route === 'GET /api/me') return { username: who, role: 'admin' };
    if (route === 'GET /api/overview') return overview();
    if (route === 'GET /api/things') return listThings(searchParams);
    if (route === 'GET /api/alarms') return { alarms: [] };
    if (route === 'GET /api/malformed') return { payloads: [] };
    if (/^GET \/iot\/things\/[^/]+\/thing-groups$/.test(route)) return { thingGroups: [] };
    if (route === 'GET /api/complete') return complete(searchParams);
    const named = /^\/api\/things\/([^/]+)(\/twin)?$/.exec(pathname);
    if (named) {
      const thing = byName(decodeURIComponent(named[1]));
      if (named[2]) return { fields: twinOf(thing) };
      const { seed, ...shown } = thing;
      return shown;
    }
    if (/^\/prometheus\/api\/v1\/query(_range)?$/.test(pathname)) return queryRange(new URLSearchParams(body || url.search));
    if (route === 'GET /prometheus/api/v1/metadata') return { status: 'success', data: {} };
    if (route === 'GET /api/allow') return { allow: allowed, nextCursor: '' };
    if (route === 'POST /api/allow' && request.headers['content-type'].startsWith('text/csv')) {
      const rows = body.trim().split('\n').slice(1);
      const good = rows.filter((row) => /,[0-9a-f]{64}(,|$)/.test(row.trim()));
      allowed.push(
        ...good.map((row) => {
          const [thingName, spkiSha256, thingTypeName] = row.trim().split(',');
          return { thingName, spkiSha256, thingTypeName, addedMs: Date.now(), usedMs: 0 };
        }),
      );
      const rowErrors = rows.flatMap((row, index) => (good.includes(row) ? [] : [{ line: index + 2, message: 'spkiSha256 wants 64 hexadecimal digits' }]));
      return { added: good.length, errors: rowErrors };
    }
    if (route === 'POST /api/allow') {
      const entries = JSON.parse(body);
      allowed = [...entries.map((entry) => ({ ...entry, addedMs: Date.now(), usedMs: 0 })), ...allowed];
      for (const entry of entries) note(who, 'allow.add', entry.thingName);
      return { added: entries.length };
    }
    if (route.startsWith('DELETE /api/allow/')) return void (allowed = allowed.filter((entry) => !pathname.endsWith(entry.spkiSha256)));
    if (route === 'GET /api/tokens') return { tokens };
    if (route === 'POST /api/tokens') {
      const asked = JSON.parse(body);
      const id = `tok-${tokens.length + 1}`;
      tokens = [...tokens, { id, name: asked.name, role: asked.role, createdMs: Date.now(), expiresMs: asked.lifeSeconds ? Date.now() + asked.lifeSeconds * 1000 : 0, lastUsedMs: 0 }];
      note(who, 'token.create', asked.name);
      return { token: 'mst_abcdefghijklmnopqrstuvwxyz234567abcdefg' };
    }
    if (route.startsWith('DELETE /api/tokens/')) return void (tokens = tokens.filter((token) => !pathname.endsWith(token.id)));
    if (route === 'GET /api/audit') return { lines: auditLines.slice(0, Number(searchParams.get('limit') || 100)) };
    throw new Refused(404, 'notFound', `there is no ${pathname}`);
  }

  function file(request, answer, url) {
    const wanted = normalize(url.pathname).replace(/^\/+/, '') || 'index.html';
    const name = existsSync(join(dist, `${wanted}.br`)) ? wanted : 'index.html';
    answer.writeHead(200, {
      'Content-Type': types[name.split('.').pop()] ?? 'application/octet-stream',
      'Content-Encoding': 'gzip',
      'Content-Security-Policy': policy,
      'X-Content-Type-Options': 'nosniff',
      'Cache-Control': name.startsWith('assets/') ? 'public, max-age=31536000, immutable' : 'no-cache',
    });
    answer.end(readFileSync(join(dist, `${name}.gz`)));
  }

  const server = createServer(async (request, answer) => {
    const url = new URL(request.url, 'http://mock');
    if (!/^\/(api|iot|prometheus)\//.test(url.pathname)) return file(request, answer, url);
    if (url.pathname === '/api/overview/live') {
      const session = /mock=([0-9a-f]+)/.exec(request.headers.cookie ?? '')?.[1];
      if (!sessions.has(session)) return answer.writeHead(401).end();
      answer.writeHead(200, { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-store' });
      const send = () => !paused && answer.write(`event: overview\ndata: ${JSON.stringify(overview())}\n\n`);
      send();
      const timer = setInterval(send, 1000);
      streams.add(answer);
      request.on('close', () => {
        clearInterval(timer);
        streams.delete(answer);
      });
      return;
    }
    try {
      const document = await api(request, answer, url);
      answer.writeHead(200, { 'Content-Type': 'application/json', 'Cache-Control': 'no-store' }).end(document === undefined ? '' : JSON.stringify(document));
    } catch (cause) {
      const { status = 500, kind = 'failed', message } = cause;
      answer.writeHead(status, { 'Content-Type': 'application/json' }).end(JSON.stringify({ error: { kind, message } }));
    }
  });
  await new Promise((resolve) => server.listen(port, '127.0.0.1', resolve));
  const stop = () => {
    for (const stream of streams) stream.end();
    return new Promise((resolve) => {
      server.close(resolve);
      server.closeAllConnections();
    });
  };
  return {
    /** The streams stay open and say nothing. */
    pause: (on) => (paused = on),
    /** Every session ends. */
    forget: () => {
      sessions.clear();
      for (const stream of streams) stream.end();
    },
    address: `http://127.0.0.1:${server.address().port}`,
    code,
    stop,
  };
}

async function read(request) {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  return Buffer.concat(chunks).toString('utf8');
}

if (process.argv[1] === new URL(import.meta.url).pathname) {
  const { values } = parseArgs({ options: { things: { type: 'string', default: '200' }, port: { type: 'string', default: '0' }, setup: { type: 'boolean', default: false } } });
  const { address, code } = await startMock({ things: Number(values.things), port: Number(values.port), setup: values.setup });
  console.log(`${address}/${values.setup ? 'setup' : 'login'}#code=${code}`);
}
