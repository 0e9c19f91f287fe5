import type { IpFamily } from '../../src/netfilter/tables.ts';
import { isEmptyTransaction } from '../../src/netfilter/transaction.ts';
import type { IpvsChains } from './chains.ts';
import { type IpvsKernel, LINK_NAME, readAddresses, readHeaders, readServers } from './kernel.ts';
import { endpointText } from './operations.ts';
import type { IpvsRenderOptions } from './service-rules.ts';
import { SET_KEYS, setName } from './sets.ts';
import { diffTables } from './tables.ts';
import type { Wanted } from './wanted.ts';

/** Virtual servers whose real ones are looked at in one turn; the next turn takes the next ones. */
const SERVERS_A_LOOK = 500;

export interface Standing {
  wanted: Wanted;
  chains: IpvsChains;
  options: IpvsRenderOptions;
}

/** Looks whether another program has changed what we wrote, or the host's addresses are others by now. */
export interface Inspection {
  /**
   * Counts and names everything, and compares the real servers of some virtual ones: IPVS tells nobody of changes, and to ask for all
   * real servers each time would cost a request a Service. @returns what differs, in words; undefined when nothing does
   */
  look(kernel: IpvsKernel, standing: Standing, signal?: AbortSignal): Promise<string | undefined>;
}

export function createInspection(family: IpFamily): Inspection {
  let next = 0;

  async function lookAtReals({ ipvs }: IpvsKernel, wanted: Wanted, signal?: AbortSignal): Promise<string | undefined> {
    const servers = [...wanted.servers()];
    for (let count = Math.min(SERVERS_A_LOOK, servers.length); count > 0; count--) {
      signal?.throwIfAborted();
      next = (next + 1) % servers.length;
      const [key, { server, endpoints }] = servers[next]!;
      const reals = await ipvs.listRealServers(server);
      const serving = new Set(
        reals.filter(({ weight }) => weight > 0).map((one) => endpointText(one.address, one.port)),
      );
      if (serving.size !== new Set(endpoints).size || endpoints.some((one) => !serving.has(one)))
        return `real servers of ${key}`;
    }
    return undefined;
  }

  return {
    async look(kernel, { wanted, chains, options }, signal) {
      if (!(await kernel.holder.exists())) return `link ${LINK_NAME}`;
      const { held, host } = await readAddresses(kernel, family, signal);
      if (host.join() !== options.hostAddresses.join()) return 'addresses of the host';
      if (held.size !== wanted.addresses().size || [...held].some((address) => !wanted.hasAddress(address)))
        return `addresses of ${LINK_NAME}`;
      const servers = await readServers(kernel, family);
      for (const [key, { server }] of wanted.servers()) {
        const there = servers.get(key);
        if (!there || there.scheduler !== server.scheduler || there.flags !== server.flags)
          return `virtual server ${key}`;
      }
      const headers = await readHeaders(kernel);
      for (const key of SET_KEYS) {
        const header = headers.get(setName(key, family));
        const isAsWritten = header && (header.elements === undefined || header.elements === wanted.elements(key).size);
        if (!isAsWritten) return `set ${setName(key, family)}`;
      }
      const changes = diffTables(await kernel.iptables.save(undefined, signal), chains);
      const changed = changes.find((one) => !isEmptyTransaction([one]));
      if (changed) return `table ${changed.table}`;
      return lookAtReals(kernel, wanted, signal);
    },
  };
}
