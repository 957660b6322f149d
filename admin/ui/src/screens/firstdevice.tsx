import { Link } from 'wouter';
import { Command } from '../parts/copy';
import { addresses } from '../text/addresses';

/** The way from an empty gateway to the first telemetry, as commands with this gateway's address in them. */
export function FirstDevice() {
  const { origin } = addresses(location);
  return (
    <div className="empty">
      <h2>No device has enrolled yet</h2>
      <p className="muted">Three steps bring the first one. The private key never leaves the device.</p>
      <ol>
        <li>
          On the device: make its key. This prints the hash of the public half.
          <Command text="muster agent key --thing lamp-1" />
        </li>
        <li>
          Here: allow that hash for one name, under <Link href="/enrolment">Enrolment</Link>.
        </li>
        <li>
          On the device: enrol and start sending.
          <Command text={`muster agent --gateway ${origin} --thing lamp-1`} />
        </li>
      </ol>
    </div>
  );
}
