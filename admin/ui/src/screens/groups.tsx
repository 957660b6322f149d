// Groups of things: the tree of static ones and the dynamic ones with their queries, and beside it the group that is chosen.
import { Button, NativeSelect, TextInput } from '@mantine/core';
import { useInfiniteQuery, useQuery } from '@tanstack/react-query';
import { IconBolt, IconChevronDown, IconChevronRight, IconFolder } from '@tabler/icons-react';
import { useState } from 'react';
import { Link, useLocation } from 'wouter';
import { mayChangeFleet } from '../api/contract';
import * as api from '../api/groups';
import * as policyApi from '../api/policies';
import { useAttempt } from '../parts/attempt';
import { Confirm } from '../parts/confirm';
import { StatusText } from '../parts/glyph';
import { Placeholder } from '../parts/late';
import { Problem } from '../parts/problem';
import { useTitle } from '../parts/title';
import { useMe } from '../shell/session';
import { count, plural } from '../text/format';
import { placeTree, withBelow } from '../text/tree';
import { fleetLink } from '../text/urlstate';
import './policies.css';
import './groups.css';

const linkTo = (name: string) => `/groups/${encodeURIComponent(name)}`;

export function Groups({ name }: { name?: string }) {
  useTitle(name ?? 'Groups');
  const mayWrite = mayChangeFleet(useMe().role);
  const tree = useQuery({ queryKey: ['groups'], queryFn: ({ signal }) => api.groupTree(signal), refetchInterval: 5000 });
  const groups = tree.data ?? [];
  return (
    <div className="groups" data-chosen={name !== undefined}>
      <div className="groups-side">
        <header className="page-head">
          <h1>Groups</h1>
          {tree.data && <span className="muted">{count(groups.length)}</span>}
        </header>
        {tree.error ? (
          <Problem error={tree.error} retry={() => tree.refetch()} />
        ) : !tree.data ? (
          <Placeholder rows={8} />
        ) : (
          <Tree groups={groups} chosen={name} />
        )}
        {mayWrite && <Make groups={groups} />}
      </div>
      <div className="groups-main">
        {name ? (
          <Detail key={name} name={name} groups={groups} mayWrite={mayWrite} />
        ) : (
          <div className="empty">
            <h2>A group is a place in a tree, or a query</h2>
            <p className="muted prose">
              Things are put into a static group by hand. A dynamic group has the things that its query finds, at every moment: write the query in the search
              field at the top and keep it as a group. Both carry policies, are selectors in PromQL (<code>power_w{'{group="north"}'}</code>) and fields of
              queries (<code>group:north</code>).
            </p>
          </div>
        )}
      </div>
    </div>
  );
}

function Tree({ groups, chosen }: { groups: api.GroupNode[]; chosen?: string }) {
  const [closed, setClosed] = useState<ReadonlySet<string>>(new Set());
  const toggle = (name: string) => {
    const next = new Set(closed);
    if (!next.delete(name)) next.add(name);
    setClosed(next);
  };
  if (groups.length === 0) return <p className="muted groups-none">There is none yet.</p>;
  return (
    <ul className="tree" aria-label="Groups">
      {placeTree(groups, closed).map(({ node, depth, inner }) => (
        <li key={node.name} style={{ paddingLeft: 8 + depth * 18 }} data-chosen={node.name === chosen}>
          {inner ? (
            <button
              type="button"
              className="plain tree-toggle"
              aria-expanded={!closed.has(node.name)}
              aria-label={`${closed.has(node.name) ? 'Open' : 'Close'} ${node.name}`}
              onClick={() => toggle(node.name)}
            >
              {closed.has(node.name) ? <IconChevronRight size={14} stroke={1.5} /> : <IconChevronDown size={14} stroke={1.5} />}
            </button>
          ) : (
            <span className="tree-toggle" />
          )}
          {node.dynamic ? <IconBolt size={14} stroke={1.5} aria-label="dynamic" /> : <IconFolder size={14} stroke={1.5} aria-hidden="true" />}
          <Link href={linkTo(node.name)} className="clip" aria-current={node.name === chosen ? 'page' : undefined} title={node.query}>
            {node.name}
          </Link>
          <span className="muted right">{count(node.members)}</span>
        </li>
      ))}
    </ul>
  );
}

function Make({ groups }: { groups: api.GroupNode[] }) {
  const { attempt } = useAttempt(['groups']);
  const [, navigate] = useLocation();
  const [name, setName] = useState('');
  const [parent, setParent] = useState('');
  const make = async () => {
    if (!(await attempt(() => api.makeGroup(name.trim(), parent)))) return;
    navigate(linkTo(name.trim()));
    setName('');
  };
  return (
    <form
      className="groups-make"
      aria-label="Make a static group"
      onSubmit={(event) => {
        event.preventDefault();
        void make();
      }}
    >
      <TextInput label="Make a static group" placeholder="its name" spellCheck={false} value={name} onChange={(event) => setName(event.currentTarget.value)} />
      <ParentSelect label="Below" groups={groups.filter((group) => !group.dynamic)} value={parent} onChange={setParent} />
      <Button type="submit" disabled={!name.trim()}>
        Make
      </Button>
    </form>
  );
}

interface ParentSelectProps {
  label: string;
  groups: api.GroupNode[];
  value: string;
  onChange: (parent: string) => void;
}

function ParentSelect({ label, groups, value, onChange }: ParentSelectProps) {
  return (
    <NativeSelect
      label={label}
      value={value}
      onChange={(event) => onChange(event.currentTarget.value)}
      data={[{ value: '', label: 'nothing: at the top' }, ...groups.map((group) => ({ value: group.name, label: group.name }))]}
    />
  );
}

function Detail({ name, groups, mayWrite }: { name: string; groups: api.GroupNode[]; mayWrite: boolean }) {
  const { attempt } = useAttempt(['groups'], ['group', name]);
  const leave = useAttempt(['groups']).attempt;
  const [, navigate] = useLocation();
  const [leaving, setLeaving] = useState(false);
  const group = useQuery({ queryKey: ['group', name], queryFn: ({ signal }) => api.group(name, signal) });
  if (group.error) return <Problem error={group.error} retry={() => group.refetch()} />;
  if (!group.data) return <Placeholder rows={8} />;
  const { queryString, thingGroupMetadata: placed, thingGroupProperties: properties } = group.data;
  const dynamic = queryString !== undefined;
  const members = groups.find((each) => each.name === name)?.members;
  const attributes = Object.entries(properties.attributePayload?.attributes ?? {});
  const remove = async () => {
    setLeaving(false);
    if (await leave(() => api.removeGroup(name, dynamic), `The group ${name} is removed.`)) navigate('/groups');
  };
  return (
    <>
      <header className="page-head">
        <p className="groups-back">
          <Link href="/groups">Groups</Link>
        </p>
        <h1>{name}</h1>
        <span className="muted">
          {dynamic ? 'dynamic' : 'static'}
          {members !== undefined && ` · ${count(members)} ${plural(members, 'thing')}`}
        </span>
        {dynamic && group.data.status !== 'ACTIVE' && <StatusText status="busy">{group.data.status?.toLowerCase()}</StatusText>}
        <span className="spread" />
        <Link href={fleetLink({ q: `group:${name}` })}>Show in the fleet</Link>
        {mayWrite && <Button onClick={() => setLeaving(true)}>Remove…</Button>}
      </header>
      {properties.thingGroupDescription && <p className="groups-none">{properties.thingGroupDescription}</p>}
      {dynamic ? (
        <QueryEditor
          key={queryString}
          query={queryString}
          onSave={mayWrite ? (text) => attempt(() => api.changeQuery(name, text, group.data.version), 'The members follow the new query.') : undefined}
        />
      ) : (
        <section className="section" aria-labelledby="place">
          <div className="section-head">
            <h2 id="place">Place</h2>
          </div>
          <p>
            {(placed.rootToParentThingGroups ?? []).map((above) => (
              <span key={above.groupName}>
                <Link href={linkTo(above.groupName)}>{above.groupName}</Link> /{' '}
              </span>
            ))}
            <b>{name}</b>
          </p>
          {mayWrite && (
            <div className="line">
              <ParentSelect
                label="Move it, with all below it, to"
                groups={groups.filter((each) => !each.dynamic && !withBelow(groups, name).has(each.name))}
                value={placed.parentGroupName ?? ''}
                onChange={(parent) => void attempt(() => api.moveGroup(name, parent), `${name} is ${parent ? `below ${parent}` : 'at the top'} now.`)}
              />
            </div>
          )}
        </section>
      )}
      {attributes.length > 0 && (
        <section className="section" aria-labelledby="attributes">
          <div className="section-head">
            <h2 id="attributes">Attributes</h2>
          </div>
          <dl className="facts">
            {attributes.map(([key, value]) => (
              <div key={key} style={{ display: 'contents' }}>
                <dt>{key}</dt>
                <dd>{value}</dd>
              </div>
            ))}
          </dl>
        </section>
      )}
      <GroupPolicies arn={group.data.thingGroupArn} />
      <Members name={name} mayChoose={mayWrite && !dynamic} dynamic={dynamic} />
      <Confirm
        open={leaving}
        title="Remove this group?"
        action="Remove"
        onCancel={() => setLeaving(false)}
        onConfirm={() => void remove()}
      >
        <p>
          Its things stay; policies that they have through <b>{name}</b> end at once.
        </p>
      </Confirm>
    </>
  );
}

function QueryEditor({ query, onSave }: { query: string; /** Left out: it is only shown. */ onSave?: (text: string) => Promise<boolean> }) {
  const [text, setText] = useState(query);
  return (
    <section className="section" aria-labelledby="query">
      <div className="section-head">
        <h2 id="query">Query</h2>
      </div>
      <form
        className="line"
        onSubmit={(event) => {
          event.preventDefault();
          void onSave?.(text.trim());
        }}
      >
        <TextInput
          className="groups-query"
          classNames={{ input: 'mono' }}
          aria-label="Query of the group"
          spellCheck={false}
          readOnly={!onSave}
          value={text}
          onChange={(event) => setText(event.currentTarget.value)}
        />
        {onSave && (
          <Button type="submit" disabled={!text.trim() || text === query}>
            Save
          </Button>
        )}
      </form>
    </section>
  );
}

function GroupPolicies({ arn }: { arn: string }) {
  const list = useQuery({ queryKey: ['attached', arn], queryFn: ({ signal }) => policyApi.attached(arn, signal) });
  return (
    <section className="section" aria-labelledby="policies">
      <div className="section-head">
        <h2 id="policies">Policies</h2>
      </div>
      {list.error ? (
        <Problem error={list.error} retry={() => list.refetch()} />
      ) : (
        <p>
          {list.data?.length === 0 && <span className="muted">None of its own and none from above. Attach one on its page under </span>}
          {list.data?.length === 0 && <Link href="/policies">Policies</Link>}
          {(list.data ?? []).map(({ policyName }) => (
            <Link key={policyName} href={`/policies/${encodeURIComponent(policyName)}`} className="mono groups-policy">
              {policyName}
            </Link>
          ))}
        </p>
      )}
    </section>
  );
}

function Members({ name, dynamic, mayChoose }: { name: string; dynamic: boolean; mayChoose: boolean }) {
  const [thing, setThing] = useState('');
  const { attempt } = useAttempt(['groups'], ['group', name]);
  const list = useInfiniteQuery({
    queryKey: ['group', name, 'members'],
    queryFn: ({ pageParam, signal }) => api.members(name, pageParam, signal),
    initialPageParam: '',
    getNextPageParam: (last) => last.nextToken || undefined,
    refetchInterval: (query) => ((query.state.data?.pages.length ?? 0) <= 1 ? 5000 : false),
  });
  const things = list.data?.pages.flatMap((page) => page.things) ?? [];
  const change = async (what: () => Promise<void>) => {
    if (await attempt(what)) setThing('');
  };
  return (
    <section className="section" aria-labelledby="members">
      <div className="section-head">
        <h2 id="members">Members</h2>
        {!dynamic && <span className="muted">with those of the groups below it</span>}
      </div>
      {list.error ? (
        <Problem error={list.error} retry={() => list.refetch()} />
      ) : !list.data ? (
        <Placeholder rows={4} />
      ) : (
        <ul className="members">
          {things.map((each) => (
            <li key={each}>
              <Link href={`/fleet/${encodeURIComponent(each)}`} className="mono">
                {each}
              </Link>
              {mayChoose && (
                <button type="button" className="plain link" aria-label={`Take out ${each}`} onClick={() => void change(() => api.removeMember(name, each))}>
                  Take out
                </button>
              )}
            </li>
          ))}
          {things.length === 0 && <li className="muted">There is none now.</li>}
        </ul>
      )}
      {list.hasNextPage && (
        <Button mt={12} disabled={list.isFetching} onClick={() => void list.fetchNextPage()}>
          Show more
        </Button>
      )}
      {mayChoose && (
        <form
          className="line"
          onSubmit={(event) => {
            event.preventDefault();
            void change(() => api.addMember(name, thing.trim()));
          }}
        >
          <TextInput label="Put a thing into it" placeholder="lamp-000417" spellCheck={false} value={thing} onChange={(event) => setThing(event.currentTarget.value)} />
          <Button type="submit" disabled={!thing.trim()}>
            Put
          </Button>
        </form>
      )}
    </section>
  );
}
