// What the gateway's HTTP interface sends and takes. Times are Unix milliseconds.

export type Role = 'viewer' | 'operator' | 'security' | 'admin';

export const roles: { value: Role; label: string }[] = [
  { value: 'viewer', label: 'viewer: reads' },
  { value: 'operator', label: 'operator: changes things' },
  { value: 'security', label: 'security: keys and certificates' },
  { value: 'admin', label: 'admin: everything' },
];

/** Keys, certificates and the audit are for the roles that answer for security. The gateway decides; this hides what it would refuse. */
export function mayManageKeys(role: Role): boolean {
  return role === 'security' || role === 'admin';
}

/** Things, types and groups are for the roles that run the fleet. Again it is the gateway that decides. */
export function mayChangeFleet(role: Role): boolean {
  return role === 'operator' || role === 'admin';
}

export interface Me {
  username: string;
  role: Role;
}

export interface Overview {
  things: number;
  connected: number;
  neverSeen: number;
  byType: Record<string, number>;
  messagesTotal: number;
  messagesPerSecond: number;
  samplesTotal: number;
  samplesPerSecond: number;
  series: number;
  bytesOnDisk: number;
  bytesPerSample: number;
  refusedTotal: number;
  memoryBytes: number;
  diskFreeBytes: number;
  uptimeSeconds: number;
  version: string;
  ready: boolean;
  readyReason: string;
}

export type Attributes = Record<string, string>;

export interface Thing {
  thingName: string;
  thingTypeName: string;
  attributes: Attributes | null;
  connected: boolean;
  /** When it connected or disconnected last; 0: never connected. */
  sinceMs: number;
  /** 0: never seen. */
  lastSeenMs: number;
  remote: string;
  /** Why the last connection ended; empty while connected. */
  reason: string;
  version: number;
}

export interface ThingPage {
  things: Thing[];
  total: number;
  nextCursor: string;
  tookMs: number;
}

export interface ThingCertificate {
  certificateId: string;
  status: string;
  notAfterMs: number;
}

export interface ThingDetail extends Thing {
  thingId: string;
  createdMs: number;
  certificates: ThingCertificate[] | null;
}

export type TwinField = { name: string; timeMs: number } & (
  | { kind: 'number'; value: number | string }
  | { kind: 'bool'; value: boolean }
  | { kind: 'string'; value: string }
);

export interface AllowEntry {
  thingName: string;
  spkiSha256: string;
  thingTypeName: string;
  addedMs: number;
  /** 0: no device has used this key yet. */
  usedMs: number;
}

export interface Token {
  id: string;
  name: string;
  role: Role;
  createdBy: string;
  createdMs: number;
  expiresMs: number;
  lastUsedMs: number;
}

export interface User {
  username: string;
  role: Role;
  /** Without one a user signs in by links only. */
  hasPassword: boolean;
  disabled: boolean;
  createdMs: number;
  changedMs: number;
}

/** For AWS's clients, which sign their requests. */
export interface AccessKey {
  id: string;
  role: Role;
  createdBy: string;
  createdMs: number;
  lastUsedMs: number;
  active: boolean;
}

export interface AuditLine {
  seq: number;
  timeMs: number;
  /** User, token or access key; empty: nobody proved who they are. */
  who: string;
  role?: string;
  via?: string;
  from: string;
  operation: string;
  target?: string;
  /** "ok", or the kind of the refusal. */
  result: string;
  status: number;
}

/** One series of a Prometheus range answer: [seconds, "value"] pairs, ascending. */
export interface PromSeries {
  metric: Record<string, string>;
  values: [number, string][];
}
