import { type AddressHolder, openAddressHolder } from '../../src/linux/netlink/dummy.ts';
import { type Ipset, openIpset } from '../../src/netfilter/ipset.ts';
import type { SetHeader } from '../../src/netfilter/ipset-messages.ts';
import { createIptables, type Iptables } from '../../src/netfilter/iptables.ts';
import { type Ipvs, openIpvs } from '../../src/netfilter/ipvs.ts';
import type { RealServerState, VirtualServer } from '../../src/netfilter/ipvs-messages.ts';
import type { IpFamily } from '../../src/netfilter/tables.ts';
import type { ModeDependencies } from '../mode.ts';
import type { KernelState } from './operations.ts';
import { SET_KEYS, SETS, type SetKey, setName } from './sets.ts';
import { serverKey, type Wanted } from './wanted.ts';

/** The link that holds Services' addresses, by kube-proxy's name. */
export const LINK_NAME = 'kube-ipvs0';

/** The parts of the kernel that mode ipvs works with, for one family and network namespace. */
export interface IpvsKernel {
  ipvs: Ipvs;
  ipset: Ipset;
  holder: AddressHolder;
  iptables: Iptables;
}

/** Opens them all. @throws NoIpvsError */
export async function openIpvsKernel(
  family: IpFamily,
  { run, netns }: Pick<ModeDependencies, 'run' | 'netns'>,
): Promise<IpvsKernel> {
  const ipvs = await openIpvs(netns);
  return {
    ipvs,
    ipset: openIpset(netns),
    holder: openAddressHolder(LINK_NAME, netns),
    iptables: createIptables({ family, run, netns }),
  };
}

export function closeIpvsKernel({ ipvs, ipset, holder }: IpvsKernel): void {
  for (const one of [ipvs, ipset, holder]) one.close();
}

/** The host's own addresses, at which NodePorts may answer: no loopback, no IPv6 link-local one, none of kube-ipvs0. Sorted. */
export async function readAddresses(
  { holder }: Pick<IpvsKernel, 'holder'>,
  family: IpFamily,
  signal?: AbortSignal,
): Promise<{ held: Set<string>; host: string[] }> {
  const { held, others } = await holder.list(family === 'IPv4' ? 4 : 6, signal);
  const host = others.filter(({ scope }) => scope !== 'host' && !(scope === 'link' && family === 'IPv6'));
  return {
    held: new Set(held),
    host: [...new Set(host.map(({ address }) => address))].filter((address) => !address.startsWith('127.')).sort(),
  };
}

/** The virtual servers of one family. */
export async function readServers(
  { ipvs }: Pick<IpvsKernel, 'ipvs'>,
  family: IpFamily,
): Promise<Map<string, VirtualServer>> {
  const servers = await ipvs.listServers();
  const isV6 = family === 'IPv6';
  return new Map(
    servers.filter(({ address }) => address.includes(':') === isV6).map((server) => [serverKey(server), server]),
  );
}

/** All headers of sets by name. */
export async function readHeaders({ ipset }: Pick<IpvsKernel, 'ipset'>): Promise<Map<string, SetHeader>> {
  return new Map((await ipset.headers()).map((header) => [header.name, header]));
}

/** Everything of one family that could be ours. Real servers are read of the virtual ones that are wanted. */
export async function readKernelState(
  kernel: IpvsKernel,
  family: IpFamily,
  wanted: Wanted,
  { held, headers, signal }: { held: Set<string>; headers: ReadonlyMap<string, SetHeader>; signal?: AbortSignal },
): Promise<KernelState> {
  const elements = new Map<SetKey, Set<string>>();
  for (const key of SET_KEYS) {
    const name = setName(key, family);
    if (headers.get(name)?.type !== SETS[key].type) continue;
    elements.set(key, new Set(await kernel.ipset.elements({ name, type: SETS[key].type }, signal)));
  }
  const servers = new Map<string, { server: VirtualServer; reals?: RealServerState[] }>();
  // One after the other: the kernel answers one list at a time anyway.
  for (const [key, server] of await readServers(kernel, family)) {
    signal?.throwIfAborted();
    servers.set(key, { server, reals: wanted.server(key) && (await kernel.ipvs.listRealServers(server)) });
  }
  return { servers, held, elements };
}
