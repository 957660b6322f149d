// The only place that speaks HTTP. Every answer is parsed here, every refusal becomes a Refusal with the server's own sentence.

/** Refusal is an answer that is no success: its kind for programs, its message for people. */
export class Refusal extends Error {
  constructor(
    readonly kind: string,
    message: string,
    readonly status: number,
    /** Where in the text of a query it went wrong, in characters from 0. */
    readonly at?: number,
  ) {
    super(message);
  }
}

/** Calls its listeners when the server says that this browser is not signed in. */
const signedOut = new Set<() => void>();

export function onSignedOut(listener: () => void): () => void {
  signedOut.add(listener);
  return () => signedOut.delete(listener);
}

let clockSkewMs = 0;

/** The gateway's time. A gateway without a network clock may differ from this browser by hours, and ages must still be right. */
export function serverNow(): number {
  return Date.now() + clockSkewMs;
}

function learnClock(answer: Response, askedMs: number) {
  const said = Date.parse(answer.headers.get('Date') ?? '');
  if (Number.isNaN(said)) return;
  // The header has whole seconds, and the answer was on its way: smaller differences are noise.
  const skew = said + 500 - (askedMs + Date.now()) / 2;
  clockSkewMs = Math.abs(skew) < 2500 ? 0 : Math.round(skew);
}

interface Call {
  method?: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  /** Sent as JSON, unless it is text. */
  body?: unknown;
  contentType?: string;
  signal?: AbortSignal;
  /** A refusal for want of a session is the answer looked for, not a reason to show the login. */
  probing?: boolean;
}

export async function call<T>(path: string, options: Call = {}): Promise<T> {
  const { method = 'GET', body, contentType, signal, probing } = options;
  const headers: Record<string, string> = { Accept: 'application/json' };
  if (method !== 'GET') headers['X-Muster'] = '1';
  if (body !== undefined) headers['Content-Type'] = contentType ?? 'application/json';
  const asked = Date.now();
  let answer: Response;
  try {
    answer = await fetch(path, {
      method,
      headers,
      signal,
      credentials: 'same-origin',
      body: body === undefined ? undefined : typeof body === 'string' ? body : JSON.stringify(body),
    });
  } catch (cause) {
    if (cause instanceof DOMException && cause.name === 'AbortError') throw cause;
    throw new Refusal('unreachable', 'The gateway does not answer. Check that it runs and that this machine reaches it.', 0);
  }
  learnClock(answer, asked);
  const text = await answer.text();
  let document: unknown;
  try {
    document = text === '' ? undefined : JSON.parse(text);
  } catch {
    document = undefined;
  }
  if (!answer.ok) {
    if (answer.status === 401 && !probing) for (const listener of signedOut) listener();
    throw refusal(document, answer);
  }
  return document as T;
}

function refusal(document: unknown, answer: Response): Refusal {
  // muster's own resources say {error: {kind, message}}, AWS IoT's {message}, the Prometheus interface {errorType, error: "sentence"}.
  const said = (document as { error?: { kind?: string; message?: string; position?: number } | string; errorType?: string; message?: string } | undefined) ?? {};
  if (typeof said.error === 'string') return new Refusal(said.errorType ?? 'failed', said.error, answer.status);
  const kind = said.error?.kind ?? answer.headers.get('x-amzn-errortype') ?? 'failed';
  const message = said.error?.message ?? said.message ?? `The gateway answered ${answer.status} ${answer.statusText}`.trim() + '.';
  return new Refusal(kind, message, answer.status, said.error?.position);
}

/** The sentence to show for anything thrown. */
export function sentence(thrown: unknown): string {
  const text = thrown instanceof Error ? thrown.message : String(thrown);
  const said = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(said) ? said : said + '.';
}
