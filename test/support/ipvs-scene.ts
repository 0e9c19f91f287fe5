import { createIpvsProxier } from '../../proxy/ipvs/proxier.ts';
import { createChangeTracker } from '../../proxy/state/tracker.ts';
import type { Service } from '../../src/kube/types.ts';
import { silentLogger } from '../../src/runtime/log.ts';
import { createFakeClock } from '../fakes/clock.ts';
import { createFakeIptables } from '../fakes/iptables.ts';
import { createFakeAddressHolder, createFakeIpset, createFakeIpvs } from '../fakes/ipvs.ts';
import { NODE_NAME, NODE_OPTIONS, sliceOf } from './proxy.ts';

/** A proxier of mode ipvs on fakes, fed by a tracker. */
export function createIpvsScene(options: { excluded?: string } = {}) {
  const host = ['127.0.0.1', '192.168.0.2', '::1'];
  const kernel = {
    ipvs: createFakeIpvs(),
    ipset: createFakeIpset(),
    holder: createFakeAddressHolder(host),
    iptables: createFakeIptables('IPv4', 'legacy'),
  };
  const clock = createFakeClock();
  const create = () =>
    createIpvsProxier({
      family: 'IPv4',
      scheduler: 'rr',
      isExcluded: (address) => address === options.excluded,
      open: async () => kernel,
      prepare: async () => {},
      clock,
      log: silentLogger,
    });
  const tracker = createChangeTracker({ family: 'IPv4', nodeName: NODE_NAME });
  let proxier = create();
  return {
    ...kernel,
    host,
    clock,
    tracker,
    restart() {
      proxier = create();
    },
    close: () => proxier.close!(),
    isFlushed: () => proxier.isFlushed(),
    sync(full = false) {
      const { snapshot, dirty } = tracker.take();
      return proxier.sync(snapshot, dirty, { node: NODE_OPTIONS, full });
    },
    async state() {
      const servers = await kernel.ipvs.listServers();
      const reals = await Promise.all(servers.map((server) => kernel.ipvs.listRealServers(server)));
      const headers = await kernel.ipset.headers();
      const sets = await Promise.all(
        headers.map(async ({ name }) => [name, (await kernel.ipset.elements({ name, type: 'hash:ip' })).sort()]),
      );
      return {
        servers: servers
          .map((server, index) => JSON.stringify([server, reals[index]!.map((real) => JSON.stringify(real)).sort()]))
          .sort(),
        sets: Object.fromEntries(sets),
        addresses: (await kernel.holder.list(4)).held.sort(),
        tables: await kernel.iptables.save(),
      };
    },
  };
}

/** A Service with its slice. */
export function putService(
  tracker: ReturnType<typeof createIpvsScene>['tracker'],
  service: Service,
  endpoints: string[],
): void {
  tracker.setService(service);
  tracker.setSlice(sliceOf(`${service.metadata.namespace}/${service.metadata.name}`, endpoints));
}
