// The frame around every screen: top bar with the one search box, rail with the places there are, the page.
import { ActionIcon, Menu, Tooltip, UnstyledButton, useComputedColorScheme, useMantineColorScheme } from '@mantine/core';
import { useQueryClient } from '@tanstack/react-query';
import {
  IconCategory,
  IconFingerprint,
  IconFolders,
  IconChartLine,
  IconCheck,
  IconChevronDown,
  IconCloudLock,
  IconHistory,
  IconInfoCircle,
  IconKey,
  IconLayoutDashboard,
  IconList,
  IconLock,
  IconLogout,
  IconMoon,
  IconShieldCheck,
  IconSun,
  IconUsers,
  type Icon,
} from '@tabler/icons-react';
import { useEffect } from 'react';
import { Link, useLocation } from 'wouter';
import { mayManageKeys } from '../api/contract';
import * as gateway from '../api/gateway';
import { useNow } from '../live/clock';
import { followOverview, useLive } from '../live/overview';
import { Glyph, type Status } from '../parts/glyph';
import { Mark } from '../parts/mark';
import { toastError } from '../parts/toast';
import { age, count } from '../text/format';
import { setDensity, useDensity } from '../theme/preferences';
import { QueryBar } from './querybar';
import { useMe } from './session';
import './shell.css';

export function Shell({ children }: { children: React.ReactNode }) {
  useEffect(followOverview, []);
  return (
    <div className="shell">
      <a className="skip" href="#main">
        Skip to the page
      </a>
      <header className="topbar">
        <Link href="/" className="brand" aria-label="muster: overview">
          <Mark />
          <span>muster</span>
        </Link>
        <QueryBar />
        <span className="spread" />
        <Liveness />
        <SchemeButton />
        <UserMenu />
      </header>
      <Rail />
      <main id="main" tabIndex={-1}>
        {children}
      </main>
    </div>
  );
}

/** Says whether the figures are current, and how old they are when not. */
function Liveness() {
  const { overview, receivedMs } = useLive();
  useNow(); // this line ages
  if (!receivedMs) return null;
  const old = Date.now() - receivedMs;
  const [status, text]: [Status, string] =
    old > 5000 ? ['warn', `figures ${age(receivedMs, Date.now())} old`] : overview?.ready ? ['ok', 'live'] : ['bad', 'not ready'];
  return (
    <span className="liveness" role="status" title={overview?.readyReason || undefined}>
      <Glyph status={status} />
      {text}
    </span>
  );
}

function SchemeButton() {
  const { setColorScheme } = useMantineColorScheme();
  const scheme = useComputedColorScheme('light');
  const other = scheme === 'dark' ? 'light' : 'dark';
  return (
    <Tooltip label={`Switch to ${other}`}>
      <ActionIcon aria-label={`Switch to the ${other} theme`} onClick={() => setColorScheme(other)}>
        {scheme === 'dark' ? <IconSun size={16} stroke={1.5} /> : <IconMoon size={16} stroke={1.5} />}
      </ActionIcon>
    </Tooltip>
  );
}

function UserMenu() {
  const me = useMe();
  const client = useQueryClient();
  const { colorScheme, setColorScheme } = useMantineColorScheme();
  const density = useDensity();
  const tick = (chosen: boolean) => (chosen ? <IconCheck size={14} stroke={1.5} /> : <span className="no-tick" />);

  const leave = async () => {
    try {
      await gateway.logout();
      client.removeQueries({ predicate: (query) => query.queryKey[0] !== 'me' });
      client.setQueryData(['me'], 'login');
    } catch (cause) {
      toastError(cause);
    }
  };

  return (
    <Menu position="bottom-end" width={200}>
      <Menu.Target>
        <UnstyledButton className="user">
          {me.username}
          <IconChevronDown size={14} stroke={1.5} aria-hidden="true" />
        </UnstyledButton>
      </Menu.Target>
      <Menu.Dropdown>
        <Menu.Label>Role: {me.role}</Menu.Label>
        <Menu.Divider />
        <Menu.Label>Theme</Menu.Label>
        {(['auto', 'light', 'dark'] as const).map((scheme) => (
          <Menu.Item key={scheme} leftSection={tick(colorScheme === scheme)} onClick={() => setColorScheme(scheme)}>
            {scheme === 'auto' ? 'As the system' : scheme === 'light' ? 'Light' : 'Dark'}
          </Menu.Item>
        ))}
        <Menu.Label>Rows</Menu.Label>
        {(['normal', 'compact'] as const).map((each) => (
          <Menu.Item key={each} leftSection={tick(density === each)} onClick={() => setDensity(each)}>
            {each === 'normal' ? 'Normal' : 'Compact'}
          </Menu.Item>
        ))}
        <Menu.Divider />
        <Menu.Item leftSection={<IconLock size={14} stroke={1.5} />} component={Link} href="/password">
          Change password
        </Menu.Item>
        <Menu.Item leftSection={<IconLogout size={14} stroke={1.5} />} onClick={leave}>
          Sign out
        </Menu.Item>
      </Menu.Dropdown>
    </Menu>
  );
}

function Rail() {
  const { overview } = useLive();
  const me = useMe();
  return (
    <nav className="rail" aria-label="Main">
      <ul>
        <Place href="/" label="Overview" icon={IconLayoutDashboard} exact />
        <Place href="/fleet" label="Fleet" icon={IconList} figure={overview && count(overview.things)} />
        <Place href="/explore" label="Explore" icon={IconChartLine} />
        <Place href="/groups" label="Groups" icon={IconFolders} />
        <Place href="/types" label="Types" icon={IconCategory} />
        <Place href="/policies" label="Policies" icon={IconShieldCheck} />
        {mayManageKeys(me.role) && <Place href="/enrollment" label="Enrollment" icon={IconFingerprint} />}
      </ul>
      <h2>Settings</h2>
      <ul>
        {me.role === 'admin' && (
          <>
            <Place href="/users" label="Users" icon={IconUsers} />
            <Place href="/tokens" label="Access tokens" icon={IconKey} />
            <Place href="/access-keys" label="Access keys" icon={IconCloudLock} />
          </>
        )}
        {mayManageKeys(me.role) && <Place href="/audit" label="Audit" icon={IconHistory} />}
        <Place href="/about" label="This gateway" icon={IconInfoCircle} />
      </ul>
      <span className="spread" />
      <p className="rail-foot clip" title={location.host}>
        {location.host}
        {overview && <span className="muted"> {overview.version}</span>}
      </p>
    </nav>
  );
}

function Place({ href, label, icon: Glyph, figure, exact = false }: { href: string; label: string; icon: Icon; figure?: string; exact?: boolean }) {
  const [path] = useLocation();
  const here = exact ? path === href : path === href || path.startsWith(href + '/');
  return (
    <li>
      <Link href={href} className="place" aria-current={here ? 'page' : undefined}>
        <Glyph size={16} stroke={1.5} aria-hidden="true" />
        <span className="place-label">{label}</span>
        {figure !== undefined && <span className="place-figure">{figure}</span>}
      </Link>
    </li>
  );
}

