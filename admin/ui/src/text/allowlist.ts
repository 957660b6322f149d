// Keys for the allow-list, as people and the agent hand them over.

const header = 'thingName,spkiSha256,thingTypeName';

export interface AllowRow {
  thingName: string;
  spkiSha256: string;
  thingTypeName: string;
}

export function isHash(text: string): boolean {
  return /^[0-9a-f]{64}$/.test(text);
}

/** A hash with colons, spaces, capitals or a prefix -> 64 hexadecimal digits, if that is what it is. */
export function cleanHash(text: string): string {
  return text
    .trim()
    .toLowerCase()
    .replace(/^sha-?256[:=]/, '')
    .replace(/[:\s]/g, '');
}

/** Lines as `muster agent key` prints them, with or without their header; undefined when the text is anything else. */
export function allowLines(text: string): { rows: AllowRow[]; csv: string } | undefined {
  const lines = text.split(/\r?\n/).map((line) => line.trim());
  const rows: AllowRow[] = [];
  for (const line of lines) {
    if (line === '' || line === header) continue;
    const [thingName = '', hash = '', thingTypeName = '', ...more] = line.split(',');
    const spkiSha256 = cleanHash(hash);
    if (!thingName || !isHash(spkiSha256) || more.length > 0) return undefined;
    rows.push({ thingName, spkiSha256, thingTypeName });
  }
  if (rows.length === 0) return undefined;
  return { rows, csv: [header, ...rows.map((row) => `${row.thingName},${row.spkiSha256},${row.thingTypeName}`)].join('\n') + '\n' };
}
