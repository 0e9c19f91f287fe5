import { readdirSync, readFileSync } from 'node:fs';
import { isIP } from 'node:net';
import { join } from 'node:path';
import type { CniResult } from '../types.ts';
import { renderResult } from '../wire/result.ts';
import type { CachedAttachment } from './attachment-cache.ts';
import type { NetworkConfiguration } from './network-configuration.ts';

/**
 * Who holds addresses of a network, by host-local's files: containers that were attached before Berth kept a cache, or whose ADD was
 * killed before its entry was written.
 * @returns addresses by container id; of one interface
 */
export function readEarlierLeases(dataDir: string, network: string, ifname: string): Map<string, string[]> {
  const directory = join(dataDir, network);
  const held = new Map<string, string[]>();
  let names: string[];
  try {
    names = readdirSync(directory);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return held;
    throw error;
  }
  for (const ip of names.filter((name) => isIP(name) !== 0)) {
    const [id = '', interfaceName] = readFileSync(join(directory, ip), 'utf8').trim().split(/\r?\n/);
    const containerId = id.trim();
    if (containerId === '' || (interfaceName !== undefined && interfaceName.trim() !== ifname)) continue;
    held.set(containerId, [...(held.get(containerId) ?? []), ip]);
  }
  return held;
}

/** The attachment that such leases are of: as the built-in network makes it. Pure. */
export function attachmentOfLeases(
  containerId: string,
  { ips, ifname }: { ips: readonly string[]; ifname: string },
  network: NetworkConfiguration,
  podCidrs: readonly string[],
): CachedAttachment {
  const isV6 = (text: string) => text.includes(':');
  const lengthOf = (ip: string) =>
    podCidrs.find((cidr) => isV6(cidr) === isV6(ip))?.split('/')[1] ?? (isV6(ip) ? '128' : '32');
  const result: CniResult = {
    interfaces: [],
    ips: ips.map((ip) => ({ address: `${ip}/${lengthOf(ip)}` })),
    routes: ips.map((ip) => ({ dst: isV6(ip) ? '::/0' : '0.0.0.0/0' })),
  };
  return {
    network: network.name,
    containerId,
    ifname,
    netns: '',
    configuration: network.text,
    args: {},
    capabilityArgs: {},
    result: renderResult(result, network.cniVersion),
    isOurs: true,
    isOfEarlierBoot: false,
  };
}
