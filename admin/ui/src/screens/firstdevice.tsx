import { Link } from 'wouter';
import { Command } from '../parts/copy';
import { addresses } from '../text/addresses';

/** The way from an empty gateway to the first telemetry, as commands with this gateway's address in them. */
export function FirstDevice() {
  return (
    <div className="empty">
      <h2>No device has enrolled yet</h2>
      <p className="muted">Three steps bring the first one. The private key never leaves the device.</p>
      <ol>
        <li>
          On the device: make its key. This prints the line for the list of allowed keys.
          <Command text="muster agent key --thing lamp-1" />
        </li>
        <li>
          Here: paste that line under <Link href="/enrollment">Enrollment</Link>.
        </li>
        <li>
          On the device: enroll and start sending. <code>ca.pem</code> is this gateway’s public root, from its data folder.
          <Command text={addresses(location).agent('lamp-1')} />
        </li>
      </ol>
    </div>
  );
}
