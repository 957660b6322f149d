// Policies and who they are attached to: AWS IoT's operations, under /iot.
import { call } from './client';

export interface PolicyName {
  policyName: string;
  policyArn: string;
}

export interface Policy extends PolicyName {
  policyDocument: string;
  defaultVersionId: string;
  lastModifiedDate: number;
}

export interface PolicyVersion {
  versionId: string;
  isDefaultVersion: boolean;
  /** Unix seconds. */
  createDate: number;
}

export type Action = 'CONNECT' | 'PUBLISH' | 'SUBSCRIBE' | 'RECEIVE';

export type Verdict = 'ALLOWED' | 'EXPLICIT_DENY' | 'IMPLICIT_DENY';

export interface Decision {
  decision: Verdict;
  /** With what is in force. */
  decisionNow: Verdict;
  /** What decided, and what would have. Statements count from 1. */
  matchedStatements: { policyName: string; statement: number; effect: 'Allow' | 'Deny'; resource: string }[];
  missingContextValues?: string[];
}

/** Everything of a listing that goes by markers. */
async function all<T>(path: string, method: 'GET' | 'POST', items: string, signal?: AbortSignal): Promise<T[]> {
  const found: T[] = [];
  for (let marker = ''; ; ) {
    const query = `pageSize=250${marker ? `&marker=${encodeURIComponent(marker)}` : ''}`;
    const page = await call<Record<string, unknown>>(`${path}${path.includes('?') ? '&' : '?'}${query}`, { method, signal });
    found.push(...(page[items] as T[]));
    marker = (page.nextMarker as string | undefined) ?? '';
    if (!marker) return found;
  }
}

const policyPath = (name: string) => `/iot/policies/${encodeURIComponent(name)}`;
const versionPath = (name: string, id: string) => `${policyPath(name)}/version/${encodeURIComponent(id)}`;
const targetPath = (name: string) => `/iot/target-policies/${encodeURIComponent(name)}`;

export const policies = (signal?: AbortSignal) => all<PolicyName>('/iot/policies', 'GET', 'policies', signal);
export const policy = (name: string, signal?: AbortSignal) => call<Policy>(policyPath(name), { signal });
export const makePolicy = (name: string, policyDocument: string) => call<Policy>(policyPath(name), { method: 'POST', body: { policyDocument } });
export const removePolicy = (name: string) => call<void>(policyPath(name), { method: 'DELETE' });

export const versions = (name: string, signal?: AbortSignal) =>
  call<{ policyVersions: PolicyVersion[] }>(`${policyPath(name)}/version`, { signal }).then((answer) => answer.policyVersions);
export const version = (name: string, id: string, signal?: AbortSignal) => call<{ policyDocument: string }>(versionPath(name, id), { signal });
export const makeVersion = (name: string, policyDocument: string) =>
  call<{ policyVersionId: string }>(`${policyPath(name)}/version?setAsDefault=true`, { method: 'POST', body: { policyDocument } });
export const makeDefault = (name: string, id: string) => call<void>(versionPath(name, id), { method: 'PATCH' });
export const removeVersion = (name: string, id: string) => call<void>(versionPath(name, id), { method: 'DELETE' });

export const targets = (name: string, signal?: AbortSignal) =>
  all<string>(`/iot/policy-targets/${encodeURIComponent(name)}`, 'POST', 'targets', signal);
export const attach = (name: string, target: string) => call<void>(targetPath(name), { method: 'PUT', body: { target } });
export const detach = (name: string, target: string) => call<void>(targetPath(name), { method: 'POST', body: { target } });
/** The policies of a group, those that it inherits included. */
export const attached = (target: string, signal?: AbortSignal) =>
  all<PolicyName>(`/iot/attached-policies/${encodeURIComponent(target)}?recursive=true`, 'POST', 'policies', signal);

/** What a thing might do to a topic, a topic filter or as a client id, if the policy had this document; undefined: as it is. */
export const simulate = (policyName: string, policyDocument: string | undefined, thingName: string, actionType: Action, resource: string) =>
  call<{ inForce: boolean; results: Decision[] }>('/api/policies/simulate', {
    method: 'POST',
    body: { policyName, policyDocument, thingName, requests: [{ actionType, resource }] },
  });
