import type { AddressHolder } from '../../src/linux/netlink/dummy.ts';
import { NetlinkError } from '../../src/linux/netlink/socket.ts';
import type { Ipset } from '../../src/netfilter/ipset.ts';
import type { SetSpec } from '../../src/netfilter/ipset-messages.ts';
import type { Ipvs } from '../../src/netfilter/ipvs.ts';
import type { RealServerState, VirtualServer, VirtualServerId } from '../../src/netfilter/ipvs-messages.ts';

const fail = (operation: string, code: string): never => {
  throw new NetlinkError(operation, code);
};

export interface FakeIpvs extends Ipvs {
  /** Changes so far: `addServer TCP 10.96.0.1:80`. */
  readonly changes: string[];
  setConnections(server: VirtualServerId, real: { address: string; port: number }, count: number): void;
  /** Makes every further change of this virtual server fail with this errno; undefined ends that. */
  refuse(server: VirtualServerId, code: string | undefined): void;
}

const SCHEDULERS = ['rr', 'wrr', 'lc', 'wlc', 'lblc', 'lblcr', 'sh', 'dh', 'sed', 'nq', 'fo', 'ovf', 'mh'];
const keyOf = ({ protocol, address, port }: VirtualServerId) => `${protocol} ${address}:${port}`;

/** The kernel's load balancer in memory; it refuses what the real one refuses. */
export function createFakeIpvs(): FakeIpvs {
  const servers = new Map<string, { server: VirtualServer; reals: Map<string, RealServerState> }>();
  const refused = new Map<string, string>();
  const changes: string[] = [];
  const realKey = ({ address, port }: { address: string; port: number }) => `${address}:${port}`;
  const find = (operation: string, id: VirtualServerId) => servers.get(keyOf(id)) ?? fail(operation, 'ESRCH');
  const note = (verb: string, id: VirtualServerId, real?: { address: string; port: number; weight?: number }) => {
    const code = refused.get(keyOf(id));
    if (code) fail(`${verb} ${keyOf(id)}`, code);
    changes.push([verb, keyOf(id), real && `${realKey(real)} ${real.weight ?? ''}`.trim()].filter(Boolean).join(' '));
  };
  return {
    changes,
    setConnections(server, real, count) {
      const reals = find('test', server).reals;
      reals.set(realKey(real), { ...reals.get(realKey(real))!, activeConnections: count });
    },
    refuse(server, code) {
      if (code) refused.set(keyOf(server), code);
      else refused.delete(keyOf(server));
    },
    async listServers() {
      return [...servers.values()].map(({ server }) => ({ ...server }));
    },
    async listRealServers(id) {
      return [...(servers.get(keyOf(id))?.reals.values() ?? [])].map((real) => ({ ...real }));
    },
    async addServer(server) {
      note('addServer', server);
      if (servers.has(keyOf(server))) fail('add', 'EEXIST');
      if (!SCHEDULERS.includes(server.scheduler)) fail('add', 'ENOENT');
      servers.set(keyOf(server), { server: { ...server }, reals: new Map() });
    },
    async editServer(server) {
      note('editServer', server);
      const known = find('change', server);
      if (!SCHEDULERS.includes(server.scheduler)) fail('change', 'ENOENT');
      known.server = { ...server };
    },
    async deleteServer(id) {
      note('deleteServer', id);
      find('delete', id);
      servers.delete(keyOf(id));
    },
    async addRealServer(id, real) {
      note('addReal', id, real);
      const { reals } = find('add', id);
      if (reals.has(realKey(real))) fail('add', 'EEXIST');
      reals.set(realKey(real), { ...real, activeConnections: 0, inactiveConnections: 0 });
    },
    async editRealServer(id, real) {
      note('editReal', id, real);
      const { reals } = find('change', id);
      const known = reals.get(realKey(real)) ?? fail('change', 'ENOENT');
      reals.set(realKey(real), { ...known, ...real });
    },
    async deleteRealServer(id, real) {
      note('deleteReal', id, real);
      if (!find('delete', id).reals.delete(realKey(real))) fail('delete', 'ENOENT');
    },
    async setTimeouts() {},
    close() {},
  };
}

/** Sets in memory. */
export function createFakeIpset(): Ipset & { limit(name: string, maxElements: number): void } {
  const sets = new Map<string, { spec: SetSpec; elements: Set<string> }>();
  const find = (name: string) => sets.get(name) ?? fail(`set ${name}`, 'ENOENT');
  return {
    limit(name, maxElements) {
      find(name).spec = { ...find(name).spec, maxElements };
    },
    async headers() {
      return [...sets.values()].map(({ spec, elements }) => ({
        name: spec.name,
        type: spec.type,
        family: spec.type === 'bitmap:port' ? undefined : spec.family,
        maxElements: spec.type === 'bitmap:port' ? undefined : spec.maxElements,
        elements: elements.size,
      }));
    },
    elements: async ({ name }) => [...find(name).elements],
    async create(spec) {
      if (sets.has(spec.name)) fail(`create ${spec.name}`, 'EEXIST');
      sets.set(spec.name, { spec, elements: new Set() });
    },
    async destroy(name) {
      sets.delete(name);
    },
    async swap(name, other) {
      const [a, b] = [find(name), find(other)];
      sets.set(name, { ...b, spec: { ...b.spec, name } });
      sets.set(other, { ...a, spec: { ...a.spec, name: other } });
    },
    async add({ name }, elements) {
      const set = find(name);
      for (const element of elements) {
        if (set.spec.type !== 'bitmap:port' && set.elements.size >= set.spec.maxElements && !set.elements.has(element))
          fail(`add to ${name}`, 'FULL');
        set.elements.add(element);
      }
    },
    async delete({ name }, elements) {
      for (const element of elements) find(name).elements.delete(element);
    },
    close() {},
  };
}

/** A link that holds addresses, in memory, beside the host's own ones. */
export function createFakeAddressHolder(host: string[]): AddressHolder {
  let held: Set<string> | undefined;
  const isOf = (family: 4 | 6) => (address: string) => address.includes(':') === (family === 6);
  return {
    async ensureLink() {
      held ??= new Set();
    },
    exists: async () => held !== undefined,
    async removeLink() {
      held = undefined;
    },
    async list(family) {
      return {
        held: [...(held ?? [])].filter(isOf(family)),
        others: host.filter(isOf(family)).map((address) => ({
          address,
          scope: address.startsWith('127.') || address === '::1' ? ('host' as const) : ('global' as const),
        })),
      };
    },
    async add(address) {
      (held ?? fail('add address', 'ENODEV')).add(address);
    },
    async remove(address) {
      held?.delete(address);
    },
    close() {},
  };
}
