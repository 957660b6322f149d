// Which path shows which screen. The two that most visits need come with the first load, the others when they are asked for.
import { Component, lazy, Suspense } from 'react';
import { Link, Route, Switch } from 'wouter';
import { Placeholder } from './parts/late';
import { Problem } from './parts/problem';
import { Fleet } from './screens/fleet';
import { Login } from './screens/login';
import { Overview } from './screens/overview';
import { Setup } from './screens/setup';
import { RequireSession } from './shell/session';
import { Shell } from './shell/shell';
import { nameIn } from './text/urlstate';

const Device = lazy(() => import('./screens/device'));
const Explore = lazy(() => import('./screens/explore'));
// One file for the small screens.
const settings = () => import('./screens/settings');
const Enrollment = lazy(() => settings().then((screens) => ({ default: screens.Enrollment })));
const Tokens = lazy(() => settings().then((screens) => ({ default: screens.Tokens })));
const Users = lazy(() => settings().then((screens) => ({ default: screens.Users })));
const AccessKeys = lazy(() => settings().then((screens) => ({ default: screens.AccessKeys })));
const Password = lazy(() => settings().then((screens) => ({ default: screens.Password })));
const Audit = lazy(() => settings().then((screens) => ({ default: screens.Audit })));
// And one for what groups and policies need.
const manage = () => import('./screens/manage');
const Groups = lazy(() => manage().then((screens) => ({ default: screens.Groups })));
const Types = lazy(() => manage().then((screens) => ({ default: screens.Types })));
const Type = lazy(() => manage().then((screens) => ({ default: screens.Type })));
const Policies = lazy(() => manage().then((screens) => ({ default: screens.Policies })));
const Policy = lazy(() => manage().then((screens) => ({ default: screens.Policy })));
const About = lazy(() => settings().then((screens) => ({ default: screens.About })));

export function App() {
  return (
    <Switch>
      <Route path="/login" component={Login} />
      <Route path="/setup" component={Setup} />
      <Route>
        <RequireSession>
          <Shell>
            <Guard>
              <Suspense fallback={<Placeholder rows={8} />}>
                <Switch>
                  <Route path="/" component={Overview} />
                  <Route path="/fleet" component={Fleet} />
                  <Route path="/fleet/:name">{({ name }) => <Device key={name} name={nameIn(name)} />}</Route>
                  <Route path="/explore" component={Explore} />
                  <Route path="/groups">{() => <Groups />}</Route>
                  <Route path="/groups/:name">{({ name }) => <Groups name={nameIn(name)} />}</Route>
                  <Route path="/types" component={Types} />
                  <Route path="/types/:name">{({ name }) => <Type key={name} name={nameIn(name)} />}</Route>
                  <Route path="/policies" component={Policies} />
                  <Route path="/policies/:name">{({ name }) => <Policy key={name} name={nameIn(name)} />}</Route>
                  <Route path="/enrollment" component={Enrollment} />
                  <Route path="/tokens" component={Tokens} />
                  <Route path="/users" component={Users} />
                  <Route path="/access-keys" component={AccessKeys} />
                  <Route path="/password" component={Password} />
                  <Route path="/audit" component={Audit} />
                  <Route path="/about" component={About} />
                  <Route component={Nowhere} />
                </Switch>
              </Suspense>
            </Guard>
          </Shell>
        </RequireSession>
      </Route>
    </Switch>
  );
}

function Nowhere() {
  return (
    <div className="empty">
      <h1>There is no such page</h1>
      <p>
        The address may be from another version. Go to the <Link href="/">overview</Link> or the <Link href="/fleet">fleet</Link>.
      </p>
    </div>
  );
}

/** Keeps the frame when one screen breaks, for example because a new version replaced its files. */
class Guard extends Component<{ children: React.ReactNode }, { broken: unknown }> {
  override state = { broken: undefined };

  static getDerivedStateFromError(broken: unknown) {
    return { broken };
  }

  override render() {
    if (this.state.broken) return <Problem error={this.state.broken} retry={() => location.reload()} />;
    return this.props.children;
  }
}
