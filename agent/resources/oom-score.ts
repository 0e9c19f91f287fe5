import type { Container, Pod } from '../../src/kube/types.ts';
import { podQosClass } from './qos.ts';
import { isSidecar, requestsOf } from './requests.ts';

const SANDBOX = -998;
const PROTECTED = -997;
const BEST_EFFORT = 1000;
const SYSTEM_NODE_CRITICAL_PRIORITY = 2_000_001_000;

/** oom_score_adj of a container (sheet §16.4): the less of its pod's memory promise it has, the sooner it goes. */
export function computeOomScoreAdj(pod: Pod, container: string | 'POD', memoryCapacityBytes: number): number {
  if (container === 'POD') return SANDBOX;
  if (isNodeCritical(pod)) return PROTECTED;
  const qos = podQosClass(pod);
  if (qos === 'Guaranteed') return PROTECTED;
  if (qos === 'BestEffort') return BEST_EFFORT;
  const init = pod.spec.initContainers?.find((one) => one.name === container);
  const regular = pod.spec.containers.find((one) => one.name === container);
  const extraBytes = shareOfPod(pod);
  const scoreOf = (one: Container | undefined) => burstableScore(one, extraBytes, memoryCapacityBytes);
  const own = scoreOf(init ?? regular);
  // A sidecar must outlive the containers that it serves.
  const score = init && isSidecar(init) ? Math.min(own, ...pod.spec.containers.map(scoreOf)) : own;
  return Math.min(999, Math.max(3, score));
}

/** What the pod itself requests beyond its containers' requests, in equal parts for those that run together (KEP-2837). Bytes. */
function shareOfPod({ spec }: Pod): number {
  const ofPod = requestsOf(spec.resources).memory ?? 0;
  const together = [...spec.containers, ...(spec.initContainers ?? []).filter(isSidecar)];
  const ofContainers = together.reduce((sum, { resources }) => sum + (requestsOf(resources).memory ?? 0), 0);
  return Math.max(0, Math.floor((ofPod - ofContainers) / together.length));
}

function burstableScore(container: Container | undefined, extraBytes: number, memoryCapacityBytes: number): number {
  const requestBytes = (requestsOf(container?.resources).memory ?? 0) + extraBytes;
  return 1000 - Math.floor((1000 * requestBytes) / memoryCapacityBytes);
}

function isNodeCritical(pod: Pod): boolean {
  return (
    pod.spec.priorityClassName === 'system-node-critical' || (pod.spec.priority ?? 0) >= SYSTEM_NODE_CRITICAL_PRIORITY
  );
}
