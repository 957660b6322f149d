// The gateway's resources, one function each. Screens call these and never build a path of their own.
import { call } from './client';
import type { AccessKey, AllowEntry, AuditLine, Me, Overview, PromSeries, Role, ThingDetail, ThingPage, Token, TwinField, User } from './contract';

export const me = () => call<Me>('/api/me', { probing: true });
export const setupNeeded = () => call<{ needed: boolean }>('/api/setup', { probing: true });
export const setup = (body: { code: string; username: string; password: string }) =>
  call<Me>('/api/setup', { method: 'POST', body, probing: true });
export const login = (body: { username: string; password: string } | { code: string }) =>
  call<Me>('/api/login', { method: 'POST', body, probing: true });
export const logout = () => call<void>('/api/logout', { method: 'POST', probing: true });

export const overview = (signal?: AbortSignal) => call<Overview>('/api/overview', { signal });

export interface ThingQuery {
  q?: string;
  state?: string;
  type?: string;
  sort?: string;
  limit?: number;
  cursor?: string;
}

export function things(query: ThingQuery, signal?: AbortSignal): Promise<ThingPage> {
  const params = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) if (value !== undefined && value !== '') params.set(name, String(value));
  return call<ThingPage>(`/api/things?${params}`, { signal });
}

/** What may stand at a place in a query, best first; the characters from..to are replaced. */
export interface Completion {
  from: number;
  to: number;
  items: { text: string; kind: 'field' | 'value' | 'group' | 'keyword'; things?: number }[];
}

export const complete = (q: string, at: number, signal?: AbortSignal) =>
  call<Completion>(`/api/complete?${new URLSearchParams({ q, at: String(at), limit: '12' })}`, { signal });

const thingPath = (name: string) => `/api/things/${encodeURIComponent(name)}`;
export const thing = (name: string, signal?: AbortSignal) => call<ThingDetail>(thingPath(name), { signal });
export const twin = (name: string, signal?: AbortSignal) =>
  call<{ fields: TwinField[] }>(`${thingPath(name)}/twin`, { signal }).then((answer) => answer.fields ?? []);

async function prometheus(resource: string, form: Record<string, string | number>, signal?: AbortSignal): Promise<PromSeries[]> {
  const body = new URLSearchParams(Object.entries(form).map(([name, value]) => [name, String(value)])).toString();
  const contentType = 'application/x-www-form-urlencoded';
  const answer = await call<{ data: { result: PromSeries[] } }>(`/prometheus/api/v1/${resource}`, { method: 'POST', body, contentType, signal });
  return answer.data.result;
}

/** One value per step, whole seconds. */
export const queryRange = (query: string, range: { start: number; end: number; step: number }, signal?: AbortSignal) =>
  prometheus('query_range', { query, ...range }, signal);

/** The samples as they were recorded, of the seconds up to `end`. */
export const querySamples = (selector: string, seconds: number, end: number, signal?: AbortSignal) =>
  prometheus('query', { query: `${selector}[${seconds}s]`, time: end }, signal);

/** Something about a thing's connections that a person should look into; shown until a while after it was last seen. */
export interface Alarm {
  thingName: string;
  message: string;
  lastMs: number;
  count: number;
}

export const alarms = (signal?: AbortSignal) => call<{ alarms: Alarm[] }>('/api/alarms', { signal }).then((answer) => answer.alarms);

export interface Malformed {
  timeMs: number;
  thingName: string;
  topic: string;
  reason: string;
  text?: string;
  base64?: string;
}

/** The last payloads of a thing that could not be read. */
export const malformed = (thing: string, signal?: AbortSignal) =>
  call<{ payloads: Malformed[] }>(`/api/malformed?thingName=${encodeURIComponent(thing)}`, { signal }).then((answer) => answer.payloads);

export interface RowError {
  line: number;
  message: string;
}

export interface AllowPage {
  allow: AllowEntry[];
  nextCursor: string;
}

export const allowList = (cursor: string, signal?: AbortSignal) =>
  call<AllowPage>(`/api/allow?limit=1000${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ''}`, { signal });
export const allow = (entries: Pick<AllowEntry, 'thingName' | 'spkiSha256' | 'thingTypeName'>[]) =>
  call<{ added: number }>('/api/allow', { method: 'POST', body: entries });
export const allowCsv = (text: string) =>
  call<{ added: number; errors: RowError[] }>('/api/allow', { method: 'POST', body: text, contentType: 'text/csv' });
export const disallow = (key: string) => call<void>(`/api/allow/${key}`, { method: 'DELETE' });

export const tokens = (signal?: AbortSignal) => call<{ tokens: Token[] }>('/api/tokens', { signal }).then((answer) => answer.tokens ?? []);
export const makeToken = (body: { name: string; role: Role; lifeSeconds: number }) =>
  call<{ token: string }>('/api/tokens', { method: 'POST', body });
export const removeToken = (id: string) => call<void>(`/api/tokens/${encodeURIComponent(id)}`, { method: 'DELETE' });

const userPath = (name: string) => `/api/users/${encodeURIComponent(name)}`;
export const users = (signal?: AbortSignal) => call<{ users: User[] }>('/api/users', { signal }).then((answer) => answer.users);
export const makeUser = (body: { username: string; password: string; role: Role }) => call<Me>('/api/users', { method: 'POST', body });
export const changeUser = (name: string, body: { password?: string; role?: Role; disabled?: boolean }) => call<void>(userPath(name), { method: 'PATCH', body });
export const removeUser = (name: string) => call<void>(userPath(name), { method: 'DELETE' });
/** Every session of the caller ends but this one. */
export const changeOwnPassword = (body: { presentPassword: string; password: string }) => call<Me>('/api/me/password', { method: 'PUT', body });

const keyPath = (id: string) => `/api/access-keys/${encodeURIComponent(id)}`;
export const accessKeys = (signal?: AbortSignal) => call<{ accessKeys: AccessKey[] }>('/api/access-keys', { signal }).then((answer) => answer.accessKeys);
export const makeAccessKey = (role: Role) => call<{ id: string; secret: string }>('/api/access-keys', { method: 'POST', body: { role } });
export const activateAccessKey = (id: string, active: boolean) => call<void>(keyPath(id), { method: 'PATCH', body: { active } });
export const removeAccessKey = (id: string) => call<void>(keyPath(id), { method: 'DELETE' });

export const audit = (limit: number, signal?: AbortSignal) =>
  call<{ lines: AuditLine[] }>(`/api/audit?limit=${limit}`, { signal }).then((answer) => answer.lines ?? []);
