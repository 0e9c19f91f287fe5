import type { KubeClient } from '../../src/kube/client.ts';
import { isAlreadyExists, isNotFound } from '../../src/kube/errors.ts';
import type { EventRecorder } from '../../src/kube/events.ts';
import { nodes } from '../../src/kube/resources.ts';
import type { ContainerImage, Node, NodeCondition, ObjectReference, OwnerReference } from '../../src/kube/types.ts';
import { backoffDelayMs, retry } from '../../src/runtime/backoff.ts';
import { type Clock, timestamp } from '../../src/runtime/clock.ts';
import type { Logger } from '../../src/runtime/log.ts';
import type { NetworkStatus } from '../pods/ports.ts';
import { computeNodeConditions, conditionEvents, type NodeHealth } from './conditions.ts';
import {
  buildNode,
  computeNodeStatus,
  diffNodeStatus,
  diffRegistration,
  type NodeFacts,
  type NodeIdentity,
  type RefusedFields,
  refusedFields,
  zeroExtendedResources,
} from './node-object.ts';
import { findProblems } from './readiness.ts';
import { createReportSchedule } from './report-schedule.ts';
import type { RuntimeMonitor } from './runtime-monitor.ts';
import type { NodeStartup } from './startup-metrics.ts';

export interface NodeKeeperOptions {
  identity: NodeIdentity;
  /** What does not change while the agent runs. */
  facts: Omit<NodeFacts, keyof NodeCapacity | 'images' | 'nodeInfo'> & {
    nodeInfo: Omit<NodeFacts['nodeInfo'], 'containerRuntimeVersion'>;
  };
  /** nodeStatusUpdateFrequency: how often the status is computed. */
  updateIntervalMs: number;
  /** nodeStatusReportFrequency: how often it is sent though nothing changed. */
  reportIntervalMs: number;
  /** False: the Node object is made by somebody else; only its status is kept. */
  registerNode: boolean;
  /** What people should know of this start, once: `CgroupV1`, missing capabilities. */
  warnings?: readonly { reason: string; message: string }[];
}

/** What may change while the agent runs: device plugins come and go. Who changes it calls `refresh()`. */
export type NodeCapacity = Pick<NodeFacts, 'capacity' | 'allocatable'>;

export interface NodeKeeperDeps {
  client: KubeClient;
  events: EventRecorder;
  clock: Clock;
  log: Logger;
  runtime: Pick<RuntimeMonitor, 'problem' | 'version'>;
  network: () => NetworkStatus;
  /** Asked at each look. */
  resources: () => NodeCapacity;
  /** Age of the last relist of the runtime by the pod workers; undefined before the first. */
  lastRelistMonotonicMs: () => number | undefined;
  pressure?: () => Pick<NodeHealth, 'memoryPressure' | 'diskPressure' | 'pidPressure'>;
  /** Images on the node, as `computeNodeImages` gives them. */
  images?: () => Promise<ContainerImage[]>;
  /** Reason against Ready while the node shuts down. */
  shutdownProblem?: () => string | undefined;
  /** The agent remembers nothing of devices that it has given out: none that a Node object shows is its own. */
  forgotDevices?: () => boolean;
  /** Unique names of attached volumes that pods have mounted. */
  volumesInUse?: () => string[];
  /** Told after each pass, for /healthz. */
  beat?: () => void;
  /** Measures the node's way to Ready. */
  startup?: NodeStartup;
  random?: () => number;
}

export interface NodeKeeper {
  run(signal: AbortSignal): Promise<void>;
  /** Something changed (runtime, network, resources): looks now. */
  refresh(): void;
  /** The Node object as last seen; undefined before the registration. */
  node(): Node | undefined;
  isReady(): boolean;
  /** For the Lease. */
  owner(): OwnerReference | undefined;
}

const REGISTRATION_RETRY = { initialMs: 100, maxMs: 7000, jitter: 0.5 };
/** Right after the start: how often the node is looked at until it is Ready, and for how long. */
const FAST_POLL_MS = 100;
const FAST_PHASE_MS = 30_000;
const IMAGES_MS = 60_000;
/** Nodes that started together shall not ask together for ever. */
const JITTER = 0.04;
/** Before the next regular look. */
const UPDATE_TRIES = 5;
const UPDATE_RETRY = { initialMs: 100, maxMs: 1000 };

/** Registers the Node and keeps its status: computed every few seconds, written when it changed or a report is due. */
export function createNodeKeeper(options: NodeKeeperOptions, deps: NodeKeeperDeps): NodeKeeper {
  const { identity, facts } = options;
  const { client, clock, events, random = Math.random } = deps;
  const log = deps.log.child({ node: identity.name });
  // Events about nodes are filed under the name, as the kubelet does: `kubectl describe node` looks there.
  const reference: ObjectReference = { apiVersion: 'v1', kind: 'Node', name: identity.name, uid: identity.name };
  let live: Node | undefined;
  let conditions: NodeCondition[] | undefined;
  const reports = createReportSchedule(options.reportIntervalMs, random);
  let images: { list: ContainerImage[]; atMs: number } | undefined;
  let refused: RefusedFields = new Map();
  let wake = () => {};
  let dirty = false;
  const startedAtMs = clock.monotonicMs();

  async function currentImages(): Promise<ContainerImage[]> {
    const now = clock.monotonicMs();
    if (!deps.images || (images && now - images.atMs < IMAGES_MS)) return images?.list ?? [];
    try {
      images = { list: await deps.images(), atMs: now };
    } catch (error) {
      log.debug({ err: error }, 'images could not be listed');
    }
    return images?.list ?? [];
  }

  async function compute() {
    const pressure = deps.pressure?.() ?? { memoryPressure: false, diskPressure: false, pidPressure: false };
    const now = timestamp(clock.nowMs());
    const next = computeNodeConditions(
      { problems: findProblems({ ...deps, capacity: deps.resources().capacity }), ...pressure },
      live?.status?.conditions ?? conditions,
      now,
    );
    const nodeInfo = { ...facts.nodeInfo, containerRuntimeVersion: `docker://${deps.runtime.version()}` };
    const volumesInUse = deps.volumesInUse?.() ?? [];
    return computeNodeStatus(
      identity,
      {
        ...facts,
        ...deps.resources(),
        nodeInfo,
        images: await currentImages(),
        volumesInUse,
        hasConfigSource: live?.spec.configSource !== undefined,
      },
      next,
    );
  }

  async function register(signal: AbortSignal): Promise<Node> {
    const status = await compute();
    deps.startup?.attempted();
    try {
      if (!options.registerNode) return await client.get(nodes, { name: identity.name, signal });
      const created = await client.create(nodes, buildNode(identity, status), { signal });
      deps.startup?.registered();
      log.info('node registered');
      return created;
    } catch (error) {
      if (!isAlreadyExists(error)) throw error;
    }
    const existing = await client.get(nodes, { name: identity.name, signal });
    reportReboot(existing);
    const zeroed = deps.forgotDevices?.() && zeroExtendedResources(existing);
    if (zeroed)
      await client.patch(nodes, {
        name: identity.name,
        subresource: 'status',
        type: 'strategic',
        patch: zeroed,
        signal,
      });
    const patch = diffRegistration(identity, existing);
    if (!patch) return existing;
    return client.patch(nodes, { name: identity.name, type: 'strategic', patch, signal });
  }

  function reportReboot(existing: Node) {
    const [before, now] = [existing.status?.nodeInfo?.bootID, facts.nodeInfo.bootID];
    if (before && now && before !== now)
      events.event(reference, 'Warning', 'Rebooted', `Node ${identity.name} has been rebooted, boot id: ${now}`);
  }

  /** One look: compute, compare with what the API server has, write what differs. */
  async function update(signal: AbortSignal): Promise<void> {
    live = await client.get(nodes, { name: identity.name, signal });
    const status = await compute();
    if (isStarting() && isTrue(live.status?.conditions, 'Ready') && !isTrue(status.conditions, 'Ready')) {
      // An agent that was restarted beside running pods has not looked around yet: that is no news about the node.
      return;
    }
    announce(status.conditions ?? []);
    const change = diffNodeStatus(live.status, status, false, refused);
    const patch = change ?? diffNodeStatus(live.status, status, reports.isDue(clock.monotonicMs()), refused);
    if (!patch) return;
    live = await client.patch(nodes, { name: identity.name, subresource: 'status', type: 'strategic', patch, signal });
    refused = refusedFields(live.status, status);
    reports.sent(clock.monotonicMs(), change !== undefined);
    if (isTrue(status.conditions, 'Ready')) deps.startup?.ready();
  }

  async function updateWithRetries(signal: AbortSignal): Promise<void> {
    for (let tries = 1; ; tries++)
      try {
        return await update(signal);
      } catch (error) {
        if (signal.aborted || isNotFound(error) || tries === UPDATE_TRIES) throw error;
        log.debug({ err: error, tries }, 'the node status could not be updated; once more');
        await clock.sleep(backoffDelayMs(UPDATE_RETRY, tries - 1) * (1 + random()), signal);
      }
  }

  const isStarting = () => conditions === undefined && clock.monotonicMs() - startedAtMs < FAST_PHASE_MS / 3;

  function announce(next: NodeCondition[]) {
    for (const reason of conditionEvents(conditions, next))
      events.event(reference, 'Normal', reason, `Node ${identity.name} status is now: ${reason}`);
    conditions = next;
  }

  /** Waits for the time to pass or for `refresh()`. */
  async function pause(ms: number, signal: AbortSignal) {
    if (!dirty)
      await new Promise<void>((resolve) => {
        const finish = () => {
          cancel();
          signal.removeEventListener('abort', finish);
          resolve();
        };
        const cancel = clock.after(ms, finish);
        wake = finish;
        signal.addEventListener('abort', finish, { once: true });
      });
    dirty = false;
  }

  const keeper: NodeKeeper = {
    async run(signal) {
      events.event(reference, 'Normal', 'Starting', 'Starting kubelet.');
      for (const { reason, message } of options.warnings ?? []) {
        log.warn({ reason }, message);
        events.event(reference, 'Warning', reason, message);
      }
      const registration = {
        ...REGISTRATION_RETRY,
        clock,
        signal,
        onFailure: (error: unknown, delayMs: number) =>
          log.warn({ err: error, delayMs }, 'the node could not be registered; will retry'),
      };
      const forget = client.onReturn?.(keeper.refresh);
      try {
        live = await retry(() => register(signal), registration);
        while (!signal.aborted) {
          try {
            await updateWithRetries(signal);
            deps.beat?.();
          } catch (error) {
            if (signal.aborted) return;
            log.warn({ err: error }, 'the node status could not be updated');
            // Somebody deleted the object: a node that lives says so again.
            if (isNotFound(error)) live = await retry(() => register(signal), registration);
          }
          const fast = !keeper.isReady() && clock.monotonicMs() - startedAtMs < FAST_PHASE_MS;
          const intervalMs = options.updateIntervalMs * (1 + JITTER * random());
          await pause(fast ? Math.min(FAST_POLL_MS, intervalMs) : intervalMs, signal);
        }
      } catch (error) {
        if (!signal.aborted) throw error;
      } finally {
        forget?.();
      }
    },
    refresh() {
      dirty = true;
      wake();
    },
    node: () => live,
    isReady: () => isTrue(conditions, 'Ready'),
    owner: () => live && { apiVersion: 'v1', kind: 'Node', name: identity.name, uid: live.metadata.uid },
  };
  return keeper;
}

function isTrue(conditions: readonly NodeCondition[] | undefined, type: string): boolean {
  return conditions?.some((one) => one.type === type && one.status === 'True') ?? false;
}
