import { Link } from 'wouter';
import { useLive } from '../live/overview';
import { Command } from '../parts/copy';
import { StatusText } from '../parts/glyph';
import { Placeholder } from '../parts/late';
import { useTitle } from '../parts/title';
import { useMe } from '../shell/session';
import { addresses } from '../text/addresses';
import { bytes, span } from '../text/format';

/** This gateway: what runs, where it listens, and how other programs reach it. */
export function About() {
  useTitle('This gateway');
  const { overview } = useLive();
  const me = useMe();
  const at = addresses(location);
  if (!overview) return <Placeholder rows={6} />;
  return (
    <div className="page">
      <header className="page-head">
        <h1>This gateway</h1>
        {overview.ready ? (
          <StatusText status="ok">takes telemetry</StatusText>
        ) : (
          <StatusText status="bad">takes no telemetry: {overview.readyReason || 'it gave no reason'}</StatusText>
        )}
      </header>
      <section className="section" aria-labelledby="runs">
        <div className="section-head">
          <h2 id="runs">What runs</h2>
        </div>
        <dl className="facts">
          <dt>Version</dt>
          <dd>{overview.version}</dd>
          <dt>Up for</dt>
          <dd>{span(overview.uptimeSeconds)}</dd>
          <dt>Memory</dt>
          <dd>{bytes(overview.memoryBytes)}</dd>
          <dt>Disk</dt>
          <dd>
            {bytes(overview.bytesOnDisk)} of telemetry, {bytes(overview.diskFreeBytes)} free
          </dd>
          <dt>Licenses</dt>
          <dd>
            <a href="/licenses.txt" target="_blank" rel="noreferrer">
              of the parts of this page
            </a>
          </dd>
        </dl>
      </section>
      <section className="section" aria-labelledby="reach">
        <div className="section-head">
          <h2 id="reach">How programs reach it</h2>
        </div>
        <div className="prose">
          <p>
            Grafana: add a Prometheus data source with this address
            {me.role === 'admin' && (
              <>
                {' '}
                and an <Link href="/tokens">access token</Link>
              </>
            )}{' '}
            as bearer token.
          </p>
          <Command text={at.prometheus} what="the address" />
          <p>Check the certificate of this gateway against its public root, which it keeps as ca.pem in its data folder.</p>
          <Command text={`curl --cacert ca.pem ${at.origin}/readyz`} />
        </div>
      </section>
    </div>
  );
}
