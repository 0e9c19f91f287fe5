import type { ExecutionContext } from 'ava';
import { createControllers } from '../../control-plane/controllers/controllers.ts';
import { createScheduler } from '../../control-plane/scheduler/scheduler.ts';
import { createEventRecorder } from '../../src/kube/events.ts';
import { createInformerSet } from '../../src/kube/informer.ts';
import {
  configMaps,
  deployments,
  endpointSlices,
  events,
  leases,
  namespaces,
  nodes,
  objectKey,
  persistentVolumeClaims,
  pods,
  type Resource,
  replicaSets,
  secrets,
  serviceAccounts,
  services,
} from '../../src/kube/resources.ts';
import { systemClock } from '../../src/runtime/clock.ts';
import { silentLogger } from '../../src/runtime/log.ts';
import { startTestControlPlane } from './control-plane.ts';
import { eventually } from './eventually.ts';

const clock = systemClock;
const log = silentLogger;
const RESOURCES = [
  pods,
  services,
  endpointSlices,
  nodes,
  namespaces,
  configMaps,
  secrets,
  serviceAccounts,
  events,
  leases,
  deployments,
  replicaSets,
  persistentVolumeClaims,
] as Resource[];

/** API server, controllers and scheduler (on a clock of its own, if given) with the identities that they have in a cluster, and one node that runs all pods at once. */
export async function startWorkloadCluster(t: ExecutionContext, schedulerClock = clock) {
  const server = await startTestControlPlane();
  const abort = new AbortController();
  const running: Promise<void>[] = [];
  t.teardown(async () => {
    abort.abort();
    await Promise.all(running);
    await server.stop();
  });
  const client = await server.admin();
  const managerClient = await server.client('system:kube-controller-manager');
  const schedulerClient = await server.client('system:kube-scheduler');
  const managerInformers = createInformerSet(managerClient, { log, clock });
  const schedulerInformers = createInformerSet(schedulerClient, { log, clock });
  const informers = createInformerSet(client, { log, clock });
  const controllers = createControllers(
    { resources: RESOURCES, clusterCidrs: ['10.244.0.0/16'], caPem: server.ca.certPem, authority: server.ca },
    { client: managerClient, informers: managerInformers, log, clock },
  );
  const scheduler = createScheduler(
    {},
    {
      client: schedulerClient,
      informers: schedulerInformers,
      log,
      clock: schedulerClock,
      events: createEventRecorder({ client: schedulerClient, component: 'default-scheduler', log, clock }),
    },
  );
  const cache = {
    pods: informers.informer(pods),
    deployments: informers.informer(deployments),
    replicaSets: informers.informer(replicaSets),
    slices: informers.informer(endpointSlices),
    nodes: informers.informer(nodes),
  };
  await server.createNamespaces('default');
  for (const part of [managerInformers, schedulerInformers, informers, controllers, scheduler])
    running.push(part.run(abort.signal));
  await informers.synced();

  await client.create(nodes, { metadata: { name: 'n1' }, spec: {} });
  await eventually('podCIDR', () => cache.nodes.get('n1')?.spec?.podCIDR === '10.244.0.0/24');
  const time = new Date().toISOString().replace(/\.\d+/, '');
  const ready = { type: 'Ready', status: 'True' as const, lastHeartbeatTime: time, lastTransitionTime: time };
  const allocatable = { cpu: '4', memory: '8Gi', pods: '110' };
  const status = { capacity: allocatable, allocatable, conditions: [ready] };
  await client.patch(nodes, { name: 'n1', subresource: 'status', type: 'strategic', patch: { status } });
  for (;;) {
    if ((await client.list(serviceAccounts, { namespace: 'default' })).items.length > 0) break;
    await clock.sleep(5);
  }

  let address = 1;
  const runPod = async (key: string) => {
    const pod = cache.pods.get(key);
    if (!pod?.spec.nodeName) return;
    const { namespace, name, uid } = pod.metadata;
    if (pod.metadata.deletionTimestamp)
      await client.delete(pods, { namespace, name, uid, gracePeriodSeconds: 0 }).catch(() => {});
    else if (pod.status?.phase !== 'Running') {
      address++;
      const podIP = `10.244.${address >> 8}.${address & 255}`;
      const condition = { type: 'Ready', status: 'True' as const, lastTransitionTime: time };
      const conditions = [...(pod.status?.conditions ?? []), condition];
      const status = { ...pod.status, phase: 'Running' as const, podIP, podIPs: [{ ip: podIP }], conditions };
      await client.replace(pods, { ...pod, status }, { subresource: 'status' }).catch(() => {});
    }
  };
  const onPod = (pod: { metadata: { name: string; namespace?: string } }) => void runPod(objectKey(pod));
  cache.pods.subscribe({ added: onPod, updated: (_, pod) => onPod(pod) });
  return { server, client, cache };
}
