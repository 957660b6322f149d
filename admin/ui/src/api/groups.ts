// Groups and types of things: AWS IoT's operations, under /iot, and what it has not, under /api.
import { call } from './client';

/** A group in the tree of all. */
export interface GroupNode {
  name: string;
  /** Empty: at the top. */
  parent: string;
  dynamic: boolean;
  /** With those of the groups below it, each once. */
  members: number;
  /** What finds the members of a dynamic group. */
  query?: string;
}

export interface GroupDetail {
  thingGroupName: string;
  thingGroupArn: string;
  version: number;
  thingGroupProperties: { thingGroupDescription?: string; attributePayload?: { attributes?: Record<string, string> } };
  thingGroupMetadata: { parentGroupName?: string; rootToParentThingGroups?: { groupName: string }[]; creationDate: number };
  queryString?: string;
  status?: string;
}

const groupPath = (name: string) => `/iot/thing-groups/${encodeURIComponent(name)}`;
const dynamicPath = (name: string) => `/iot/dynamic-thing-groups/${encodeURIComponent(name)}`;

interface GroupRow {
  thingGroupName: string;
  parentGroupName: string;
  queryString?: string;
  allThings: number;
}

/** Every group there is. */
export async function groupTree(signal?: AbortSignal): Promise<GroupNode[]> {
  const found: GroupNode[] = [];
  for (let cursor = ''; ; ) {
    const page = await call<{ groups: GroupRow[]; nextCursor: string }>(
      `/api/groups?below=true&limit=1000${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ''}`,
      { signal },
    );
    for (const { thingGroupName: name, parentGroupName: parent, queryString: query, allThings: members } of page.groups) {
      found.push({ name, parent, dynamic: query !== undefined, members, query });
    }
    cursor = page.nextCursor;
    if (!cursor) return found;
  }
}

export const group = (name: string, signal?: AbortSignal) => call<GroupDetail>(groupPath(name), { signal });
export const members = (name: string, nextToken: string, signal?: AbortSignal) =>
  call<{ things: string[]; nextToken?: string }>(
    `${groupPath(name)}/things?recursive=true&maxResults=200${nextToken ? `&nextToken=${encodeURIComponent(nextToken)}` : ''}`,
    { signal },
  );

/** The names of the groups that a thing is in itself. */
export const groupsOf = (thing: string, signal?: AbortSignal) =>
  call<{ thingGroups: { groupName: string }[] }>(`/iot/things/${encodeURIComponent(thing)}/thing-groups?maxResults=250`, { signal }).then((answer) =>
    answer.thingGroups.map((group) => group.groupName),
  );

export const makeGroup = (name: string, parentGroupName: string) =>
  call<void>(groupPath(name), { method: 'POST', body: parentGroupName ? { parentGroupName } : {} });
export const makeDynamicGroup = (name: string, queryString: string) => call<void>(dynamicPath(name), { method: 'POST', body: { queryString } });
/** What a query would find, and what would change if a group had it. */
export interface Preview {
  total: number;
  things: { thingName: string }[];
  entering: number;
  leaving: number;
}

export const preview = (queryString: string, thingGroupName: string, signal?: AbortSignal) =>
  call<Preview>('/api/groups/preview', { method: 'POST', body: { queryString, thingGroupName, limit: 5 }, signal });
export const changeQuery = (name: string, queryString: string, expectedVersion: number) =>
  call<void>(dynamicPath(name), { method: 'PATCH', body: { thingGroupProperties: {}, queryString, expectedVersion } });
export const removeGroup = (name: string, dynamic: boolean) => call<void>(dynamic ? dynamicPath(name) : groupPath(name), { method: 'DELETE' });
export const moveGroup = (name: string, parent: string) =>
  call<void>(`/api/groups/${encodeURIComponent(name)}/move`, { method: 'POST', body: { parentGroupName: parent } });

const membership = (operation: string, thingGroupName: string, thingName: string) =>
  call<void>(`/iot/thing-groups/${operation}`, { method: 'PUT', body: { thingGroupName, thingName } });
export const addMember = (groupName: string, thing: string) => membership('addThingToThingGroup', groupName, thing);
export const removeMember = (groupName: string, thing: string) => membership('removeThingFromThingGroup', groupName, thing);

export interface ThingType {
  thingTypeName: string;
  thingTypeProperties: { thingTypeDescription?: string; searchableAttributes?: string[] };
  thingTypeMetadata: { deprecated: boolean; deprecationDate?: number; creationDate: number };
}

const typePath = (name: string) => `/iot/thing-types/${encodeURIComponent(name)}`;

export async function thingTypes(signal?: AbortSignal): Promise<ThingType[]> {
  const found: ThingType[] = [];
  for (let token = ''; ; ) {
    const page = await call<{ thingTypes: ThingType[]; nextToken?: string }>(
      `/iot/thing-types?maxResults=250${token ? `&nextToken=${encodeURIComponent(token)}` : ''}`,
      { signal },
    );
    found.push(...page.thingTypes);
    token = page.nextToken ?? '';
    if (!token) return found;
  }
}

export const thingType = (name: string, signal?: AbortSignal) => call<ThingType>(typePath(name), { signal });
export const makeType = (name: string, thingTypeDescription: string) =>
  call<void>(typePath(name), { method: 'POST', body: { thingTypeProperties: { thingTypeDescription } } });
export const deprecateType = (name: string, undoDeprecate: boolean) =>
  call<void>(`${typePath(name)}/deprecate`, { method: 'POST', body: { undoDeprecate } });
export const removeType = (name: string) => call<void>(typePath(name), { method: 'DELETE' });
