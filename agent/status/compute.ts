import type { ContainerStatus, Pod, PodStatus, ResourceStatus } from '../../src/kube/types.ts';
import { timestamp } from '../../src/runtime/clock.ts';
import { decideSandbox } from '../pods/plan.ts';
import type { PodStatusInput } from '../pods/ports.ts';
import { restartAllSources } from '../pods/restart-all.ts';
import { podQosClass } from '../resources/qos.ts';
import { computeConditions } from './conditions.ts';
import { computeContainerStatuses, endMissingContainers, type ProbeView } from './container-statuses.ts';
import { limitMessages } from './message-limit.ts';
import { computePhase, isStaticPod, isTerminalPhase, type PodPhase } from './phase.ts';
import { computePodAddresses } from './pod-addresses.ts';

/** What of the node shows in its pods' status. */
export interface NodeView {
  /** InternalIPs, the primary family's first; empty when there is no API server. */
  hostIps: readonly string[];
  /** Whether its kernel can make a tree of mounts read-only. */
  recursiveReadOnly?: boolean;
  /** Devices that the container holds, and how they are; undefined: none. */
  heldDevices?(podUid: string, container: string): ResourceStatus[] | undefined;
}

/** The status of a pod from what is observed of it (sheet §13). Pure. */
export function computePodStatus(input: PodStatusInput, probes: ProbeView, node: NodeView): PodStatus {
  const { pod, runtime, override, terminal, nowMs } = input;
  const previous = input.previous ?? pod.status;
  if (override && isRejection(input)) return rejectedPodStatus(pod, override, nowMs);

  const containerStatuses = computeContainerStatuses(input, 'regular', probes, node);
  const initContainerStatuses = computeContainerStatuses(input, 'init', probes, node);
  const ephemeralContainerStatuses = computeContainerStatuses(input, 'ephemeral', probes, node);
  for (const status of containerStatuses) showDevices(status, input, node);
  if (terminal) endMissingContainers(pod, runtime, containerStatuses, initContainerStatuses);

  const stillRuns = runtime.containers.some(({ state }) => state === 'running');
  const { phase, reason, message } = decidePhase(input, previous, () => {
    const byContainers = computePhase(pod, containerStatuses, initContainerStatuses, terminal);
    // Whatever was left undone: a pod that is over is over. Static pods never are, their file may bring them back.
    const over = terminal && !stillRuns && !isStaticPod(pod);
    return over && !isTerminalPhase(byContainers) ? 'Failed' : byContainers;
  });
  // A verdict is published only when nothing runs any more; until then the pod is unready under its old phase.
  const delayed = stillRuns && isTerminalPhase(phase) && !isTerminalPhase(previous?.phase);

  const now = timestamp(nowMs);
  const status: PodStatus = { phase: delayed ? (previous?.phase ?? 'Running') : phase };
  if (pod.metadata.generation !== undefined) status.observedGeneration = pod.metadata.generation;
  status.conditions = computeConditions({
    pod,
    previous,
    phase,
    regular: containerStatuses,
    init: initContainerStatuses,
    sandboxReady: !decideSandbox(pod, runtime).create,
    restartsAll: restartAllSources(pod, runtime).length > 0,
    // As upstream, together with the phase that it explains.
    ...(override?.condition && !delayed && phase === 'Failed' && { disruption: override.condition }),
    ...(!isTerminalPhase(phase) && { resize: input.resize }),
    now,
  });
  if (reason && !delayed) status.reason = reason;
  if (message && !delayed) status.message = message;
  Object.assign(status, computePodAddresses(pod, runtime, previous, node.hostIps));
  status.startTime = previous?.startTime ?? pod.status?.startTime ?? now;
  if (pod.spec.initContainers?.length) status.initContainerStatuses = limitMessages(pod, initContainerStatuses);
  status.containerStatuses = limitMessages(pod, containerStatuses);
  if (pod.spec.ephemeralContainers?.length)
    status.ephemeralContainerStatuses = limitMessages(pod, ephemeralContainerStatuses);
  status.qosClass = podQosClass(pod);
  if (pod.spec.resources) {
    status.resources = (stillRuns && input.podActuated) || pod.spec.resources;
    if (pod.spec.resources.requests) status.allocatedResources = pod.spec.resources.requests;
  }
  return status;
}

/** Devices that the container holds; when they are given back, as they were last: somebody may ask why it has failed. */
function showDevices(status: ContainerStatus, { pod, previous = pod.status }: PodStatusInput, node: NodeView): void {
  const before = previous?.containerStatuses?.find(({ name }) => name === status.name);
  const devices = node.heldDevices?.(pod.metadata.uid, status.name) ?? before?.allocatedResourcesStatus;
  if (devices) status.allocatedResourcesStatus = devices;
}

/** The status of a pod that this node does not take: nothing about containers. `Pod was rejected: ` is put before the message. */
export function rejectedPodStatus(pod: Pod, rejection: { reason: string; message: string }, nowMs: number): PodStatus {
  const prefix = 'Pod was rejected: ';
  const message = rejection.message.startsWith(prefix) ? rejection.message : prefix + rejection.message;
  const status: PodStatus = { phase: 'Failed', reason: rejection.reason, message, qosClass: podQosClass(pod) };
  if (pod.metadata.generation !== undefined) status.observedGeneration = pod.metadata.generation;
  status.startTime = pod.status?.startTime ?? timestamp(nowMs);
  return status;
}

/** Nothing of the pod has ever been here: the verdict is a reject at the door. */
function isRejection({ runtime, override, previous }: PodStatusInput): boolean {
  const neverRan = runtime.sandboxes.length === 0 && runtime.containers.length === 0;
  return neverRan && !previous?.containerStatuses?.length && !override?.wasAdmitted;
}

function decidePhase(
  { pod, override }: PodStatusInput,
  previous: PodStatus | undefined,
  byContainers: () => PodPhase,
): { phase: PodPhase; reason?: string; message?: string } {
  const settled = [previous?.phase, pod.status?.phase].find(isTerminalPhase);
  const phase = settled ?? override?.phase ?? byContainers();
  if (!settled && override) return { phase: override.phase, reason: override.reason, message: override.message };
  if (phase !== previous?.phase) return { phase };
  return {
    phase,
    reason: previous.reason || pod.status?.reason,
    message: previous.message || pod.status?.message,
  };
}
