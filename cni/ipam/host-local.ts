import { accessSync, constants, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { formatIp, parseIp } from '../../src/linux/ip.ts';
import type { AttachmentKey, CniIp, CniRoute, IpamPlugin } from '../types.ts';
import { CNI_ERROR, CniError } from '../types.ts';
import { createLeaseStore, type Lease, type LeaseStore, QUARANTINE_MS, type StoreDependencies } from './lease-store.ts';
import { makeDirectory } from './make-directory.ts';
import {
  type Candidate,
  candidates,
  describeRangeSet,
  parseRangeSets,
  type RangeConfig,
  type RangeSet,
  rangeOf,
} from './range.ts';
import { parseResolvConf } from './resolv-conf.ts';

export interface HostLocalConfig {
  /** The network's name: the directory below `dataDir`. */
  network: string;
  dataDir: string;
  /** One address is given of each set. */
  ranges: readonly (readonly RangeConfig[])[];
  routes: readonly CniRoute[];
  /** Addresses that the container is to have; each must be in a set of its own. */
  requested?: readonly string[];
  /** A file whose resolver becomes the result's `dns`. */
  resolvConf?: string;
}

export interface HostLocal extends IpamPlugin<HostLocalConfig> {
  /** Every lease of the network. */
  leases(config: Pick<HostLocalConfig, 'network' | 'dataDir'>): Promise<Lease[]>;
}

export const DEFAULT_DATA_DIR = '/var/lib/cni/networks';

/**
 * Address management in files of this host: round robin through the ranges, one file an address. An address that this process released a
 * short while ago is given again only when there is no other: somebody may still send to who had it (R2).
 *
 * An ADD costs one stat for each lease of the network, and a search that is as long as the row of taken addresses behind the last one
 * given; how large the ranges are does not matter.
 */
export function createHostLocal(deps: StoreDependencies): HostLocal {
  const stores = new Map<string, LeaseStore>();
  function storeOf({ dataDir, network }: Pick<HostLocalConfig, 'network' | 'dataDir'>): LeaseStore {
    const key = join(dataDir, network);
    const store = stores.get(key) ?? createLeaseStore({ dataDir, network }, deps);
    stores.set(key, store);
    return store;
  }
  const isResting = (store: LeaseStore, ip: string) => {
    const atMs = store.releasedAtMs(ip);
    return atMs !== undefined && deps.monotonicMs!() - atMs < QUARANTINE_MS;
  };

  /** The next free address of the set, or the one that was asked for. */
  function choose(
    store: LeaseStore,
    set: RangeSet,
    index: number,
    { taken, wanted, network }: { taken: ReadonlyMap<string, Lease>; wanted: Candidate | undefined; network: string },
  ): Candidate {
    const failed = `failed to allocate for range ${index}: `;
    const holder = wanted && taken.get(wanted.ip);
    if (holder)
      throw new CniError(
        CNI_ERROR.addressTaken,
        `${failed}requested IP address ${wanted.ip} is not available in range set ${describeRangeSet(set)}`,
        { details: `network ${network}: ${holder.containerId} ${holder.ifname ?? ''} has it` },
      );
    if (wanted) return wanted;
    /** The one that has rested the longest. */
    let resting: Candidate | undefined;
    for (const candidate of candidates(set, store.lastReserved(index))) {
      if (taken.has(candidate.ip)) continue;
      if (!isResting(store, candidate.ip)) return candidate;
      if (!resting || store.releasedAtMs(candidate.ip)! < store.releasedAtMs(resting.ip)!) resting = candidate;
    }
    if (resting) return resting;
    throw new CniError(
      CNI_ERROR.rangeExhausted,
      `${failed}no IP addresses available in range set: ${describeRangeSet(set)}`,
      { details: `network ${network}: ${taken.size} addresses are in use` },
    );
  }
  return {
    type: 'host-local',

    async add(config, request) {
      const sets = parseRangeSets(config.ranges);
      const dns = config.resolvConf ? readResolvConf(config.resolvConf) : undefined;
      const chosen = chooseRequested(sets, config.requested ?? []);
      const store = storeOf(config);
      return store.locked(async () => {
        const taken = await store.list();
        const own = [...taken.values()].find((lease) => belongsTo(lease, request));
        if (own)
          throw new CniError(
            CNI_ERROR.alreadyAttached,
            `${own.ip} has been allocated to ${request.containerId} ${request.ifname} already; detach it first`,
          );
        for (const [index, set] of sets.entries()) refuseGatewayInUse(set, index, taken, config.network);
        const ips: CniIp[] = [];
        try {
          for (const [index, set] of sets.entries()) {
            const { ip, range } = choose(store, set, index, {
              taken,
              wanted: chosen[index],
              network: config.network,
            });
            const { containerId, ifname } = request;
            ips.push({ address: `${ip}/${range.subnet.prefixLength}`, gateway: range.gateway });
            await both(store.reserve({ ip, containerId, ifname }), store.setLastReserved(index, ip));
          }
        } catch (error) {
          for (const { address } of ips) await store.release(address.split('/')[0]!);
          throw error;
        }
        return { interfaces: [], ips, routes: [...config.routes], ...(dns && { dns }) };
      });
    },

    async del(config, request) {
      const store = storeOf(config);
      await store.locked(async () => {
        for (const lease of (await store.list()).values()) if (belongsTo(lease, request)) await store.release(lease.ip);
      });
    },

    async check(config, request) {
      const leases = await storeOf(config).list();
      if (![...leases.values()].some((lease) => belongsTo(lease, request)))
        // Not code 3: to a runtime that means that there is nothing to detach, and the interface may well be there.
        throw new CniError(
          CNI_ERROR.unknown,
          `no address is reserved for ${request.containerId} ${request.ifname} in ${join(config.dataDir, config.network)}`,
        );
    },

    async gc(config, valid) {
      const store = storeOf(config);
      await store.locked(async () => {
        for (const lease of (await store.list()).values())
          if (!valid.some((attachment) => belongsTo(lease, attachment))) await store.release(lease.ip);
      });
    },

    async status(config) {
      parseRangeSets(config.ranges);
      const directory = join(config.dataDir, config.network);
      try {
        makeDirectory(directory, 0o755);
        accessSync(directory, constants.W_OK);
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

    async leases(config) {
      const all = [...(await storeOf(config).list()).values()];
      return all.map(({ ip, containerId, ifname }) => ({ ip, containerId, ifname }));
    },
  };
}

/** To the end of both: where one fails, the other must not write after the lock is given back. */
async function both(...writes: Promise<void>[]): Promise<void> {
  const failed = (await Promise.allSettled(writes)).find(({ status }) => status === 'rejected');
  if (failed?.status === 'rejected') throw failed.reason;
}

function belongsTo(lease: Lease, key: AttachmentKey): boolean {
  return lease.containerId === key.containerId && (lease.ifname === undefined || lease.ifname === key.ifname);
}

/**
 * A container got the address while the configuration named another gateway: whoever brings the gateway up takes the whole network's
 * traffic to that container, or from it.
 * @throws CniError 102.
 */
function refuseGatewayInUse(set: RangeSet, index: number, taken: ReadonlyMap<string, Lease>, network: string): void {
  for (const { gateway } of set) {
    const holder = taken.get(gateway);
    if (!holder) continue;
    throw new CniError(
      CNI_ERROR.addressTaken,
      `failed to allocate for range ${index}: the gateway ${gateway} is in use`,
      {
        details: `network ${network}: ${holder.containerId} ${holder.ifname ?? ''} has it; end that container, or name another gateway`,
      },
    );
  }
}

/**
 * Which requested address goes to which set, before anything is reserved.
 * @throws CniError 7 for one that no set has (left), or that is a gateway.
 */
function chooseRequested(sets: readonly RangeSet[], requested: readonly string[]): (Candidate | undefined)[] {
  const left = new Set(requested.map((text) => canonical(text)));
  const chosen = sets.map((set, index): Candidate | undefined => {
    for (const ip of left) {
      const range = rangeOf(set, ip);
      if (!range) continue;
      left.delete(ip);
      if (ip === range.gateway)
        throw invalid(`failed to allocate for range ${index}: requested ip ${ip} is subnet's gateway`);
      return { ip, range };
    }
    return undefined;
  });
  if (left.size > 0)
    throw invalid(
      `failed to allocate all requested IPs: ${[...left].join(' ')}`,
      `the range sets are ${sets.map(describeRangeSet).join(' and ')}; one address is given of each`,
    );
  return chosen;
}

/** With a prefix length or without. */
function canonical(text: string): string {
  try {
    return formatIp(parseIp(text.split('/')[0]!));
  } catch {
    throw invalid(`requested IP address ${JSON.stringify(text)} is none`);
  }
}

function readResolvConf(path: string) {
  try {
    return parseResolvConf(readFileSync(path, 'utf8'));
  } catch (cause) {
    throw invalid(`ipam.resolvConf ${path} can't be read: ${(cause as Error).message}`);
  }
}

const invalid = (message: string, details?: string) =>
  new CniError(CNI_ERROR.invalidNetworkConfig, message, { details });
