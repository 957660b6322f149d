import { expect, test } from 'vitest';
import { addresses } from './addresses';

test('the agent reaches the gateway that the browser sees', () => {
  const at = (text: string) => addresses(new URL(text)).agent('lamp-1');
  expect(at('https://gw.local:8443/fleet')).toBe('muster agent --gateway gw.local --ca ca.pem --thing lamp-1');
  expect(at('https://gw.local:9443/')).toBe('muster agent --gateway gw.local --http-port 9443 --ca ca.pem --thing lamp-1');
  expect(at('https://gw.local/')).toBe('muster agent --gateway gw.local --http-port 443 --ca ca.pem --thing lamp-1');
  expect(addresses(new URL('https://gw.local:9443/about')).prometheus).toBe('https://gw.local:9443/prometheus');
});
