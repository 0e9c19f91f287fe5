import { isWireguardKey } from '../../../src/linux/wireguard-key.ts';
import { ExplainedError } from '../../../src/runtime/explained-error.ts';
import type { BackendFields } from '../backend-fields.ts';

/** net-conf.json's `Backend` of type wireguard, with flannel's keys and defaults. */
export interface WireguardOptions {
  listenPort: number;
  listenPortV6: number;
  /** Shared by all nodes; 32 bytes in base64. */
  presharedKey?: string;
  keepaliveSeconds: number;
  /**
   * `separate`: a device per family, in each the pods of the family over addresses of the family. Else one device carries both:
   * over IPv4 (`ipv4`), IPv6 (`ipv6`), or what both ends have (`auto`, IPv4 first).
   */
  mode: 'separate' | 'auto' | 'ipv4' | 'ipv6';
  /** What the underlay carries; 0: as much as the uplink. */
  mtu: number;
  /** Of our own: where the private key is. In /run, so that each boot has another. */
  privateKeyFile: string;
}

const GREATEST_PORT = 65_535;
/** flanneld's. */
export const PRIVATE_KEY_FILE = '/run/flannel/wgkey';

/** @throws ExplainedError naming key and what is accepted; never a key's value. */
export function readWireguardOptions(fields: BackendFields): WireguardOptions {
  const presharedKey = fields.text('PSK');
  if (presharedKey !== '' && !isWireguardKey(presharedKey))
    throw new ExplainedError('Backend.PSK: is not 32 bytes in base64 (wg genpsk makes one)');
  return {
    listenPort: fields.whole('ListenPort', { min: 1, max: GREATEST_PORT, otherwise: 51_820 }),
    listenPortV6: fields.whole('ListenPortV6', { min: 1, max: GREATEST_PORT, otherwise: 51_821 }),
    ...(presharedKey !== '' && { presharedKey }),
    keepaliveSeconds: fields.whole('PersistentKeepaliveInterval', { min: 0, max: GREATEST_PORT, otherwise: 0 }),
    mode: fields.oneOf('Mode', ['separate', 'auto', 'ipv4', 'ipv6'] as const, 'separate'),
    mtu: fields.whole('MTU', { min: 0, max: GREATEST_PORT, otherwise: 0 }),
    privateKeyFile: fields.text('PrivateKeyFile', PRIVATE_KEY_FILE),
  };
}
