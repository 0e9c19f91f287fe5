import { isIPv4 } from 'node:net';
import { networkInterfaces } from 'node:os';
import { type IpPrefix, parseIp, parsePrefix, prefixContains } from '../../src/linux/ip.ts';

/** How long an address's answer is remembered, so that one that the host gets later counts too. */
const REMEMBER_MS = 10_000;
const MAX_REMEMBERED = 10_000;

export interface ClientsOptions {
  /** Networks of pods: `10.244.0.0/16`. */
  networks: readonly string[];
}

/**
 * Whom the server answers: pods, this host, and the cluster's other nodes (pods there come with their node's address). The port stands
 * open on the node's own address; anybody else who could ask would use it to flood third parties.
 */
export function createClients(options: ClientsOptions, deps: { nodeAddresses(): Iterable<string>; nowMs(): number }) {
  const networks: IpPrefix[] = options.networks.map(parsePrefix);
  let known = new Map<string, boolean>();
  let knownSinceMs = Number.NEGATIVE_INFINITY;

  function look(address: string): boolean {
    const plain = address.replace(/%.*$/, '');
    if (plain.startsWith('127.') || plain === '::1') return true;
    const bytes = parseIp(plain);
    if (networks.some((network) => prefixContains(network, bytes))) return true;
    for (const node of deps.nodeAddresses()) if (node === plain) return true;
    return Object.values(networkInterfaces()).some((all) => all?.some((one) => one.address === plain));
  }

  return {
    allows(address: string): boolean {
      // An IPv4 client of an IPv6 socket.
      const mapped = address.startsWith('::ffff:') && isIPv4(address.slice(7)) ? address.slice(7) : address;
      if (deps.nowMs() - knownSinceMs > REMEMBER_MS || known.size > MAX_REMEMBERED) {
        known = new Map();
        knownSinceMs = deps.nowMs();
      }
      const allowed = known.get(mapped) ?? look(mapped);
      known.set(mapped, allowed);
      return allowed;
    },
  };
}

export type Clients = ReturnType<typeof createClients>;
