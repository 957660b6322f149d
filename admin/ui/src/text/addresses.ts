/** The gateway's addresses as seen from this browser, and the agent's command that reaches it. */
export function addresses(at: { protocol: string; host: string; hostname: string; port: string }) {
  const origin = `${at.protocol}//${at.host}`;
  // 8443 is what the agent takes for the port of enrollment by itself.
  const port = at.port || (at.protocol === 'https:' ? '443' : '80');
  return {
    origin,
    prometheus: `${origin}/prometheus`,
    agent: (thing: string) => `muster agent --gateway ${at.hostname}${port === '8443' ? '' : ` --http-port ${port}`} --ca ca.pem --thing ${thing}`,
  };
}
