import { access, constants, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { AttachmentKey, CniIp, CniRoute, IpamPlugin } from '../types.ts';
import { CNI_ERROR, CniError } from '../types.ts';
import { createLeaseStore, type Lease, type LeaseStore } from './lease-store.ts';
import { candidates, describeRangeSet, parseRangeSets, type RangeConfig, type RangeSet } from './range.ts';

export interface HostLocalConfig {
  /** The network's name: the directory below `dataDir`. */
  network: string;
  dataDir: string;
  /** One address is given of each set. */
  ranges: readonly (readonly RangeConfig[])[];
  routes: readonly CniRoute[];
}

export interface HostLocal extends IpamPlugin<HostLocalConfig> {
  /** What a container holds, without waiting. */
  heldBy(config: Pick<HostLocalConfig, 'network' | 'dataDir'>, containerId: string): Lease[];
  /** Every lease of the network. */
  leases(config: Pick<HostLocalConfig, 'network' | 'dataDir'>): Promise<Lease[]>;
}

export const DEFAULT_DATA_DIR = '/var/lib/cni/networks';

/** Address management in files of this host: round robin through the ranges, one file an address. */
export function createHostLocal(deps: { sleep(ms: number): Promise<void> }): HostLocal {
  const stores = new Map<string, LeaseStore>();
  function storeOf({ dataDir, network }: Pick<HostLocalConfig, 'network' | 'dataDir'>): LeaseStore {
    const key = join(dataDir, network);
    const store = stores.get(key) ?? createLeaseStore({ dataDir, network }, deps);
    stores.set(key, store);
    return store;
  }

  return {
    type: 'host-local',

    async add(config, request) {
      const sets = parseRangeSets(config.ranges);
      const store = storeOf(config);
      return store.locked(async () => {
        const leases = await store.list();
        const taken = new Set(leases.map((lease) => lease.ip));
        const own = leases.find((lease) => belongsTo(lease, request));
        if (own)
          throw new CniError(
            CNI_ERROR.alreadyAttached,
            `${own.ip} has been allocated to ${request.containerId} ${request.ifname} already; detach it first`,
          );
        const ips: CniIp[] = [];
        try {
          for (const [index, set] of sets.entries())
            ips.push(await reserveOne({ store, set, index, taken, request, network: config.network }));
        } catch (error) {
          for (const { address } of ips) await store.release(address.split('/')[0]!);
          throw error;
        }
        return { interfaces: [], ips, routes: [...config.routes] };
      });
    },

    async del(config, request) {
      const store = storeOf(config);
      await store.locked(async () => {
        for (const lease of await store.list()) if (belongsTo(lease, request)) await store.release(lease.ip);
      });
    },

    async check(config, request) {
      const leases = await storeOf(config).list();
      if (!leases.some((lease) => belongsTo(lease, request)))
        throw new CniError(
          CNI_ERROR.unknownContainer,
          `no address is reserved for ${request.containerId} ${request.ifname} in ${join(config.dataDir, config.network)}`,
        );
    },

    async gc(config, valid) {
      const store = storeOf(config);
      await store.locked(async () => {
        for (const lease of await store.list())
          if (!valid.some((attachment) => belongsTo(lease, attachment))) await store.release(lease.ip);
      });
    },

    async status(config) {
      parseRangeSets(config.ranges);
      const directory = join(config.dataDir, config.network);
      try {
        await mkdir(directory, { recursive: true, mode: 0o755 });
        await access(directory, constants.W_OK);
      } catch (cause) {
        throw new CniError(
          CNI_ERROR.notAvailable,
          `can't keep addresses in ${directory}: ${(cause as Error).message}`,
          {
            cause,
          },
        );
      }
    },

    heldBy: (config, containerId) => storeOf(config).heldBy(containerId),
    leases: (config) => storeOf(config).list(),
  };
}

function belongsTo(lease: Lease, key: AttachmentKey): boolean {
  return lease.containerId === key.containerId && (lease.ifname === undefined || lease.ifname === key.ifname);
}

async function reserveOne(search: {
  store: LeaseStore;
  set: RangeSet;
  index: number;
  taken: ReadonlySet<string>;
  request: AttachmentKey;
  network: string;
}): Promise<CniIp> {
  const { store, set, index, taken, request } = search;
  for (const { ip, range } of candidates(set, await store.lastReserved(index))) {
    if (taken.has(ip)) continue;
    const { containerId, ifname } = request;
    if (!(await store.reserve({ ip, containerId, ifname }))) continue;
    await store.setLastReserved(index, ip);
    return { address: `${ip}/${range.subnet.prefixLength}`, gateway: range.gateway };
  }
  throw new CniError(
    CNI_ERROR.rangeExhausted,
    `failed to allocate for range ${index}: no IP addresses available in range set: ${describeRangeSet(set)}`,
    { details: `network ${search.network}: ${taken.size} addresses are in use` },
  );
}
