import type { RealServerState, VirtualServer } from '../../src/netfilter/ipvs-messages.ts';
import type { WantedServer } from './service-rules.ts';
import { SET_KEYS, type SetKey } from './sets.ts';
import { serverKey, type Wanted, type WantedChanges } from './wanted.ts';

/** What brings the kernel from what it holds to what is wanted; beside the rules of iptables. */
export interface IpvsOperations {
  addElements: Map<SetKey, string[]>;
  deleteElements: Map<SetKey, string[]>;
  addServers: WantedServer[];
  editServers: VirtualServer[];
  deleteServers: VirtualServer[];
  /** Real servers (`ip:port`) of virtual ones that stand already. */
  reals: { server: VirtualServer; add: string[]; revive: string[]; remove: string[]; adopt: string[] }[];
  bind: string[];
  unbind: string[];
}

/** What the kernel holds of one family. */
export interface KernelState {
  /** By key; `reals` undefined where nobody wants the server. */
  servers: ReadonlyMap<string, { server: VirtualServer; reals?: readonly RealServerState[] }>;
  /** Addresses of kube-ipvs0. */
  held: ReadonlySet<string>;
  elements: ReadonlyMap<SetKey, ReadonlySet<string>>;
}

function noOperations(): IpvsOperations {
  return {
    addElements: new Map(),
    deleteElements: new Map(),
    addServers: [],
    editServers: [],
    deleteServers: [],
    reals: [],
    bind: [],
    unbind: [],
  };
}

export function countOperations(all: IpvsOperations): number {
  const elements = [...all.addElements.values(), ...all.deleteElements.values()];
  const reals = all.reals.map(({ add, revive, remove }) => add.length + revive.length + remove.length);
  return [
    ...[all.addServers, all.editServers, all.deleteServers, all.bind, all.unbind, ...elements].map(
      (list) => list.length,
    ),
    ...reals,
  ].reduce((sum, length) => sum + length, 0);
}

/** From what was wanted before (and stands) to what is wanted now; O(what changed). */
export function diffChanges(
  changes: WantedChanges,
  wanted: Wanted,
  isTerminating: (server: string, endpoint: string) => boolean,
): IpvsOperations {
  const out = noOperations();
  for (const [key, before] of changes.servers) {
    const now = wanted.server(key);
    if (!before && now) out.addServers.push(now);
    else if (before && !now) out.deleteServers.push(before.server);
    else if (before && now) {
      if (!sameServer(before.server, now.server)) out.editServers.push(now.server);
      const old = new Set(before.endpoints);
      const next = new Set(now.endpoints);
      const fresh = [...next].filter((one) => !old.has(one));
      addReals(out, now.server, {
        add: fresh.filter((one) => !isTerminating(key, one)),
        revive: fresh.filter((one) => isTerminating(key, one)),
        remove: [...old].filter((one) => !next.has(one)),
        adopt: [],
      });
    }
  }
  for (const [address, was] of changes.addresses) {
    const is = wanted.hasAddress(address);
    if (is && !was) out.bind.push(address);
    if (was && !is) out.unbind.push(address);
  }
  for (const [set, elements] of changes.elements)
    for (const [element, was] of elements) {
      const is = wanted.elements(set).has(element);
      if (is && !was) push(out.addElements, set, element);
      if (was && !is) push(out.deleteElements, set, element);
    }
  return out;
}

/**
 * From what the kernel holds to what is wanted. A virtual server that nobody wants goes only where it is ours (`isOwn`): others may
 * have some too. In steps of some virtual servers.
 */
export function* diffKernel(
  kernel: KernelState,
  wanted: Wanted,
  isOwn: (server: VirtualServer) => boolean,
): Generator<void, IpvsOperations> {
  const out = noOperations();
  let count = 0;
  for (const [key, one] of wanted.servers()) {
    if (++count % SERVERS_A_STEP === 0) yield;
    const there = kernel.servers.get(key);
    if (!there) {
      out.addServers.push(one);
      continue;
    }
    if (!sameServer(there.server, one.server)) out.editServers.push(one.server);
    diffReals(out, one, there.reals ?? []);
  }
  for (const [key, { server }] of kernel.servers)
    if (!wanted.server(key) && isOwn(server)) out.deleteServers.push(server);
  yield;
  for (const address of wanted.addresses().keys()) if (!kernel.held.has(address)) out.bind.push(address);
  for (const address of kernel.held) if (!wanted.hasAddress(address)) out.unbind.push(address);
  for (const set of SET_KEYS) {
    yield;
    const there = kernel.elements.get(set);
    const now = wanted.elements(set);
    for (const element of now.keys()) if (!there?.has(element)) push(out.addElements, set, element);
    for (const element of there ?? []) if (!now.has(element)) push(out.deleteElements, set, element);
  }
  return out;
}

const SERVERS_A_STEP = 100;

function diffReals(out: IpvsOperations, { server, endpoints }: WantedServer, there: readonly RealServerState[]): void {
  const weights = new Map(there.map(({ address, port, weight }) => [endpointText(address, port), weight]));
  const next = new Set(endpoints);
  const others = [...weights].filter(([one]) => !next.has(one));
  addReals(out, server, {
    add: [...next].filter((one) => !weights.has(one)),
    revive: [...next].filter((one) => weights.has(one) && weights.get(one) !== 1),
    remove: others.filter(([, weight]) => weight > 0).map(([one]) => one),
    // Of a run before this one: it ends when its connections do.
    adopt: others.filter(([, weight]) => weight === 0).map(([one]) => one),
  });
}

function addReals(
  out: IpvsOperations,
  server: VirtualServer,
  lists: Omit<IpvsOperations['reals'][number], 'server'>,
): void {
  if (Object.values(lists).some((list) => list.length > 0)) out.reals.push({ server, ...lists });
}

function push(lists: Map<SetKey, string[]>, set: SetKey, element: string): void {
  const list = lists.get(set);
  if (list) list.push(element);
  else lists.set(set, [element]);
}

function sameServer(a: VirtualServer, b: VirtualServer): boolean {
  return a.scheduler === b.scheduler && a.flags === b.flags && a.timeoutSeconds === b.timeoutSeconds;
}

/** `10.244.0.1:80`, `[fd00::1]:80`. */
export function endpointText(address: string, port: number): string {
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
}

/** The contrary of `endpointText`. */
export function parseEndpoint(text: string): { address: string; port: number } {
  const colon = text.lastIndexOf(':');
  return { address: text.slice(0, colon).replace(/^\[|\]$/g, ''), port: Number(text.slice(colon + 1)) };
}

/** Picks, of a virtual server that the kernel holds, whether one of our sets (as the kernel holds them) or addresses marks it as ours. */
export function isMarked(server: VirtualServer, { held, elements }: Pick<KernelState, 'held' | 'elements'>): boolean {
  const key = serverKey(server);
  const element = `${server.address},${key.slice(0, key.indexOf('/')).toLowerCase()}:${server.port}`;
  const has = (set: SetKey, what: string) => elements.get(set)?.has(what) === true;
  if (held.has(server.address)) return true;
  if (
    (['KUBE-CLUSTER-IP', 'KUBE-EXTERNAL-IP', 'KUBE-EXTERNAL-IP-LOCAL', 'KUBE-LOAD-BALANCER'] as const).some((set) =>
      has(set, element),
    )
  )
    return true;
  return server.protocol === 'SCTP'
    ? has('KUBE-NODE-PORT-SCTP-HASH', element)
    : has(`KUBE-NODE-PORT-${server.protocol}`, String(server.port));
}
