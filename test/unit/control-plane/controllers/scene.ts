import type { ExecutionContext } from 'ava';
import type { Controller, ControllerDependencies } from '../../../../control-plane/controllers/controller.ts';
import { createInformerSet } from '../../../../src/kube/informer.ts';
import { pods } from '../../../../src/kube/resources.ts';
import type { Deployment, Draft, Node, Pod, ReplicaSet } from '../../../../src/kube/types.ts';
import { silentLogger } from '../../../../src/runtime/log.ts';
import { createFakeClock, settle } from '../../../fakes/clock.ts';
import { createFakeKubeClient } from '../../../fakes/kube-client.ts';

/** A fake API, informers over it, and an event recorder that keeps what it is told. */
export function createScene(t: ExecutionContext) {
  const clock = createFakeClock();
  const client = createFakeKubeClient(clock);
  const informers = createInformerSet(client, { log: silentLogger, clock });
  const told: string[] = [];
  const events = {
    event: (_: unknown, type: string, reason: string, message: string) => told.push(`${type} ${reason}: ${message}`),
    flush: async () => {},
  };
  const dependencies: ControllerDependencies = { client, informers, log: silentLogger, clock, events };
  const abort = new AbortController();
  const running: Promise<void>[] = [];
  t.teardown(async () => {
    abort.abort();
    await Promise.all(running);
  });
  return {
    clock,
    client,
    informers,
    told,
    dependencies,
    signal: abort.signal,
    /** Starts controllers and lets them do all that they can do without time passing. */
    async start(...controllers: Pick<Controller, 'run'>[]) {
      running.push(...controllers.map((controller) => controller.run(abort.signal)), informers.run(abort.signal));
      await settle(30);
    },
    /** Lets everything react to what just changed. */
    settle: () => settle(30),
  };
}

export function workloadSpec(replicas: number, image = 'web:1') {
  return {
    replicas,
    selector: { matchLabels: { app: 'web' } },
    template: { metadata: { labels: { app: 'web' } }, spec: { containers: [{ name: 'c', image }] } },
  };
}

export function draftReplicaSet(replicas: number, metadata: object = {}): Draft<ReplicaSet> {
  return { metadata: { name: 'web', namespace: 'default', ...metadata }, spec: workloadSpec(replicas) };
}

export function draftDeployment(replicas: number, spec: object = {}): Draft<Deployment> {
  return {
    metadata: { name: 'web', namespace: 'default' },
    spec: {
      ...workloadSpec(replicas),
      strategy: { type: 'RollingUpdate', rollingUpdate: { maxSurge: '25%', maxUnavailable: '25%' } },
      revisionHistoryLimit: 10,
      progressDeadlineSeconds: 600,
      ...spec,
    },
  };
}

export interface PodParts {
  labels?: Record<string, string>;
  metadata?: object;
  spec?: object;
  status?: object;
  ready?: boolean | string;
  ip?: string;
}

/** A pod; `ready: true` means Running and Ready since the clock's start, a string gives the time. */
export function draftPod(name: string, parts: PodParts = {}): Draft<Pod> {
  const since = typeof parts.ready === 'string' ? parts.ready : '2026-01-01T00:00:00Z';
  return {
    metadata: { name, namespace: 'default', labels: parts.labels ?? { app: 'web' }, ...parts.metadata },
    spec: { containers: [{ name: 'c', image: 'i' }], ...parts.spec },
    status: {
      phase: parts.ready ? 'Running' : 'Pending',
      ...(parts.ip && { podIP: parts.ip, podIPs: [{ ip: parts.ip }] }),
      conditions: parts.ready ? [{ type: 'Ready', status: 'True', lastTransitionTime: since }] : [],
      ...parts.status,
    },
  };
}

/** A pod as controllers get it. */
export function makePod(name: string, parts: PodParts = {}): Pod {
  const draft = draftPod(name, parts);
  return {
    ...draft,
    metadata: {
      uid: `uid-${name}`,
      resourceVersion: '1',
      creationTimestamp: '2026-01-01T00:00:00Z',
      ...draft.metadata,
    },
  } as Pod;
}

export function draftNode(
  name: string,
  parts: { labels?: Record<string, string>; spec?: object; ready?: string; allocatable?: object } = {},
): Draft<Node> {
  return {
    metadata: { name, labels: { 'kubernetes.io/hostname': name, ...parts.labels } },
    spec: { ...parts.spec },
    status: {
      allocatable: { cpu: '4', memory: '8Gi', pods: '110', ...parts.allocatable },
      conditions: [
        {
          type: 'Ready',
          status: parts.ready ?? 'True',
          lastHeartbeatTime: '2026-01-01T00:00:00Z',
          lastTransitionTime: '2026-01-01T00:00:00Z',
        },
      ],
    },
  };
}

export function makeNode(name: string, parts: Parameters<typeof draftNode>[1] = {}): Node {
  const draft = draftNode(name, parts);
  return {
    ...draft,
    metadata: {
      uid: `uid-${name}`,
      resourceVersion: '1',
      creationTimestamp: '2026-01-01T00:00:00Z',
      ...draft.metadata,
    },
  } as Node;
}

/** What a node agent does to all pods: started and ready, or, when deleted, gone. */
export function runPods(client: ReturnType<typeof createFakeKubeClient>, now = '2026-01-01T00:00:00Z') {
  for (const pod of client.all(pods)) {
    const key = `${pod.metadata.namespace}/${pod.metadata.name}`;
    if (pod.metadata.deletionTimestamp) {
      client.edit(pods, key, (one) => {
        one.metadata.deletionGracePeriodSeconds = 0;
      });
    } else
      client.edit(pods, key, (one) => {
        one.status = {
          ...one.status,
          phase: 'Running',
          conditions: [{ type: 'Ready', status: 'True', lastTransitionTime: now }],
        };
      });
  }
}
