import { feedTrackers } from '../../proxy/feed.ts';
import { type OwnNode, readOwnNode, UNKNOWN_NODE } from '../../proxy/own-node.ts';
import type { ServiceCidr } from '../../proxy/service-cidrs.ts';
import type { ProxySnapshot } from '../../proxy/state/model.ts';
import { createChangeTracker } from '../../proxy/state/tracker.ts';
import type { KubeClient } from '../../src/kube/client.ts';
import { ApiError, isNotFound } from '../../src/kube/errors.ts';
import { createInformerSet } from '../../src/kube/informer.ts';
import { nodes, type Resource } from '../../src/kube/resources.ts';
import { createServiceSources } from '../../src/kube/service-sources.ts';
import type { IpFamily } from '../../src/netfilter/tables.ts';
import { UserError } from '../output/failure.ts';
import type { ProgramContext } from '../roots/context.ts';
import { PROXIED_SERVICES } from '../roots/proxy-part.ts';

const serviceCidrs: Resource<ServiceCidr> = {
  group: 'networking.k8s.io',
  version: 'v1',
  plural: 'servicecidrs',
  kind: 'ServiceCIDR',
  namespaced: false,
};

/** What a proxy on a node would make its rules of, now. */
export interface ClusterState {
  ownNode: OwnNode;
  serviceCidrs: readonly string[];
  snapshot(family: IpFamily): ProxySnapshot;
}

const FAMILIES: readonly IpFamily[] = ['IPv4', 'IPv6'];
const LIST_TIMEOUT_MS = 60_000;

/** Lists once what the proxy watches. */
export async function readClusterState(
  client: KubeClient,
  nodeName: string,
  { log, clock }: ProgramContext,
): Promise<ClusterState> {
  const ownNode = await client.get(nodes, { name: nodeName }).then(readOwnNode, (error) => {
    if (!isNotFound(error)) throw error;
    return UNKNOWN_NODE;
  });
  const informers = createInformerSet(client, { log, clock });
  const sources = createServiceSources({ labelSelector: PROXIED_SERVICES }, { client, informers, log, clock });
  const trackers = new Map(FAMILIES.map((family) => [family, createChangeTracker({ family, nodeName })]));
  const nothing = { serviceChanged() {}, endpointsChanged() {} };
  const stopFeeding = feedTrackers(sources, [...trackers.values()], nothing);
  const done = new AbortController();
  const runs = [informers.run(done.signal), sources.run(done.signal)];
  try {
    const signal = AbortSignal.timeout(LIST_TIMEOUT_MS);
    const failed = Promise.all(runs).then(() => new Promise<never>(() => {}));
    await Promise.race([Promise.all([sources.services.synced(signal), sources.endpointSlices.synced(signal)]), failed]);
  } catch (error) {
    if ((error as Error).name !== 'TimeoutError') throw error;
    throw new UserError(`the API server did not list Services and EndpointSlices within ${LIST_TIMEOUT_MS / 1000} s`);
  } finally {
    done.abort();
    stopFeeding();
    await Promise.allSettled(runs);
  }
  return {
    ownNode,
    serviceCidrs: await readServiceCidrs(client),
    snapshot: (family) => trackers.get(family)!.take().snapshot,
  };
}

/** Servers before 1.33 have none, and a kube-proxy's credentials of then may not ask. */
async function readServiceCidrs(client: KubeClient): Promise<string[]> {
  try {
    const { items } = await client.list(serviceCidrs);
    return items.flatMap(({ spec }) => spec.cidrs ?? []);
  } catch (error) {
    if (error instanceof ApiError && (error.code === 404 || error.code === 403)) return [];
    throw error;
  }
}
