/** The gateway's addresses as seen from this browser. MQTT listens on the port of the same host that the standard names. */
export function addresses(at: { protocol: string; host: string; hostname: string }) {
  return {
    origin: `${at.protocol}//${at.host}`,
    host: at.host,
    mqtt: `${at.hostname}:8883`,
    prometheus: `${at.protocol}//${at.host}/prometheus`,
  };
}
