import test, { type ExecutionContext } from 'ava';
import { createNodeKeeper, type NodeKeeper } from '../../../agent/node/node-keeper.ts';
import { createStatusManager } from '../../../agent/status/manager.ts';
import type { KubeClient } from '../../../src/kube/client.ts';
import { isNotFound } from '../../../src/kube/errors.ts';
import { createLeaseKeeper } from '../../../src/kube/lease.ts';
import { leases, nodes, pods, serviceAccounts } from '../../../src/kube/resources.ts';
import type { Pod, PodStatus } from '../../../src/kube/types.ts';
import { systemClock } from '../../../src/runtime/clock.ts';
import { silentLogger } from '../../../src/runtime/log.ts';
import { createFakeKubeClient } from '../../fakes/kube-client.ts';
import { eventually } from '../../support/agent.ts';
import { startTestControlPlane, type TestControlPlane } from '../../support/control-plane.ts';

/** The agent's writers against the API: the same on the fake and on the real server with its rules for nodes. */
interface World {
  /** Identity of the node. */
  node: KubeClient;
  admin: KubeClient;
}

let controlPlane: TestControlPlane;
test.before(async () => {
  controlPlane = await startTestControlPlane();
  await controlPlane.createNamespaces('default', 'kube-node-lease');
  const admin = await controlPlane.admin();
  await admin.create(serviceAccounts, { metadata: { name: 'default', namespace: 'default' } });
});
test.after.always(() => controlPlane?.stop());

const worlds: Record<string, () => Promise<World>> = {
  async fake() {
    const client = createFakeKubeClient(systemClock);
    return { node: client, admin: client };
  },
  async real() {
    return {
      node: await controlPlane.client('system:node:n1', ['system:nodes']),
      admin: await controlPlane.admin(),
    };
  },
};

const log = silentLogger;
const clock = systemClock;
const resources = {
  cpuMillis: 2000,
  memoryBytes: 2 ** 30,
  ephemeralStorageBytes: 2 ** 33,
  pods: 110,
  hugepages: new Map<number, number>(),
};

function keep(t: ExecutionContext, client: KubeClient, ip: string): NodeKeeper {
  const stop = new AbortController();
  const keeper = createNodeKeeper(
    {
      identity: {
        name: 'n1',
        hostname: 'n1',
        ips: [ip],
        architecture: 'amd64',
        labels: { 'node.kubernetes.io/rack': 'r1' },
        registerWithTaints: [],
      },
      facts: {
        serverPort: 10250,
        nodeInfo: {
          machineID: 'm',
          systemUUID: 's',
          bootID: 'b',
          kernelVersion: 'k',
          osImage: 'o',
          kubeletVersion: 'v1.36.0',
          kubeProxyVersion: '',
          operatingSystem: 'linux',
          architecture: 'amd64',
        },
      },
      updateIntervalMs: 50,
      reportIntervalMs: 300_000,
      registerNode: true,
    },
    {
      client,
      clock,
      log,
      events: { event() {}, flush: async () => {} },
      runtime: { problem: () => undefined, version: () => '20.10.24' },
      network: () => ({ ready: true }),
      resources: () => ({ capacity: resources, allocatable: resources }),
      lastRelistMonotonicMs: () => clock.monotonicMs(),
      images: async () => [{ names: ['busybox:1'], sizeBytes: 1000 }],
    },
  );
  const done = keeper.run(stop.signal);
  t.teardown(() => {
    stop.abort();
    return done;
  });
  return keeper;
}

for (const [kind, open] of Object.entries(worlds)) {
  test.serial(`${kind}: a node is registered, stays quiet, and changes its address`, async (t) => {
    const { node, admin } = await open();
    const first = keep(t, node, '10.0.0.1');
    await eventually('Ready', () => first.isReady());
    const read = () => admin.get(nodes, { name: 'n1' });
    const registered = await eventually('the status is there', async () => {
      const live = await read();
      return live.status?.conditions?.some(({ type, status }) => type === 'Ready' && status === 'True') && live;
    });
    t.deepEqual(registered.status?.addresses, [
      { type: 'InternalIP', address: '10.0.0.1' },
      { type: 'Hostname', address: 'n1' },
    ]);
    t.like(registered.status?.capacity, { cpu: '2', memory: '1Gi', pods: '110' });
    t.is(registered.status?.nodeInfo?.containerRuntimeVersion, 'docker://20.10.24');
    t.is(registered.metadata.labels?.['node.kubernetes.io/rack'], 'r1');
    const { resourceVersion } = (await read()).metadata;
    await new Promise((resolve) => setTimeout(resolve, 300));
    t.is((await read()).metadata.resourceVersion, resourceVersion, 'no write without a change');
    // The kernel gave another address: a restarted agent says so.
    keep(t, node, '10.0.0.2');
    await eventually('the new address', async () => (await read()).status?.addresses?.[0]?.address === '10.0.0.2');
    t.is((await read()).status?.addresses?.length, 2);
  });

  test.serial(`${kind}: a lease is kept`, async (t) => {
    const { node, admin } = await open();
    const stop = new AbortController();
    const keeper = createLeaseKeeper(
      { namespace: 'kube-node-lease', name: 'n1', holderIdentity: 'n1', durationSeconds: 1, renewFraction: 0.05 },
      { client: node, clock, log },
    );
    const done = keeper.run(stop.signal);
    const renewed = async () => (await admin.get(leases, { namespace: 'kube-node-lease', name: 'n1' })).spec.renewTime;
    const first = await eventually('the lease', () => renewed().catch(() => undefined));
    await eventually('it is renewed', async () => (await renewed()) !== first);
    stop.abort();
    await t.notThrowsAsync(done);
  });

  test.serial(`${kind}: a pod's status from the first to the last, then its removal`, async (t) => {
    const { node, admin } = await open();
    const draft = {
      metadata: { name: 'web', namespace: 'default' },
      spec: { nodeName: 'n1', containers: [{ name: 'app', image: 'x' }] },
    };
    const pod = await admin.create(pods, draft as Pod);
    const stop = new AbortController();
    const manager = createStatusManager({ client: node, mirrors: { of: () => undefined }, clock, log });
    const done = manager.run(stop.signal);
    const read = () => admin.get(pods, { namespace: 'default', name: 'web' });
    const status = (phase: 'Running' | 'Succeeded', ip: string, ready: PodStatus['conditions']): PodStatus => ({
      phase,
      podIP: ip,
      podIPs: [{ ip }],
      conditions: ready,
      startTime: '2026-01-01T00:00:00Z',
      containerStatuses: [
        {
          name: 'app',
          ready: true,
          restartCount: 0,
          image: 'x',
          imageID: '',
          state: { running: { startedAt: '2026-01-01T00:00:00Z' } },
          lastState: {},
        },
      ],
    });
    const lastTransitionTime = '2026-01-01T00:00:00Z';
    manager.set(
      pod,
      status('Running', '10.244.0.5', [
        { type: 'Ready', status: 'False', reason: 'ContainersNotReady', message: 'm', lastTransitionTime },
      ]),
    );
    await eventually('Running', async () => (await read()).status?.phase === 'Running');
    manager.set(await read(), status('Running', '10.244.0.6', [{ type: 'Ready', status: 'True', lastTransitionTime }]));
    const ready = await eventually('the new address', async () => {
      const live = await read();
      return live.status?.podIP === '10.244.0.6' && live;
    });
    t.deepEqual(ready.status?.podIPs, [{ ip: '10.244.0.6' }], 'the old address is gone');
    const condition = ready.status?.conditions?.find(({ type }) => type === 'Ready');
    t.is(condition?.status, 'True');
    t.falsy(condition?.reason);
    t.falsy(condition?.message);
    // Deletion: marked, ended, reported, removed.
    await admin.delete(pods, { namespace: 'default', name: 'web', gracePeriodSeconds: 30 });
    const deleting = await read();
    t.truthy(deleting.metadata.deletionTimestamp);
    manager.finished(deleting);
    manager.set(
      deleting,
      status('Succeeded', '10.244.0.6', [
        { type: 'Ready', status: 'False', reason: 'PodCompleted', lastTransitionTime },
      ]),
    );
    await eventually('the object is gone', () => read().then(() => false, isNotFound));
    stop.abort();
    await done;
  });
}
