import { Command } from './copy';

interface ShownOnceProps {
  name: string;
  /** Why it has to be copied now. */
  note: string;
  commands: { label: string; text: string; what?: string }[];
}

/** A secret that was just made, and commands that have it in them. */
export function ShownOnce({ name, note, commands }: ShownOnceProps) {
  return (
    <section className="section" aria-labelledby="fresh">
      <div className="section-head">
        <h2 id="fresh">Copy it now: {name}</h2>
      </div>
      <div className="note" role="status">
        <p>{note}</p>
      </div>
      <div className="enroll-how" style={{ marginTop: 12 }}>
        {commands.map(({ label, ...command }) => (
          <div key={label}>
            <p className="muted">{label}</p>
            <Command {...command} />
          </div>
        ))}
      </div>
    </section>
  );
}
