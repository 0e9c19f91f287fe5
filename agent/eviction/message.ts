import { bytes as bytesOf, canonicalQuantity, formatBytes } from '../../src/kube/quantity.ts';
import type { Pod } from '../../src/kube/types.ts';
import type { ContainerStats, PodStats } from '../stats/summary.ts';
import type { Observations } from './observations.ts';
import { resourceOf, type StarvedResource } from './signals.ts';
import { amountOf, type Threshold } from './thresholds.ts';

export interface EvictionReport {
  /** Of the pod's status and event, in upstream's words (they end in a space). */
  message: string;
  /** Of the event, for programs. */
  annotations: Record<string, string>;
}

/** Why this pod goes: what the node lacks, and which containers use more of it than they asked for. Pure. */
export function describeEviction(
  pod: Pod,
  stats: PodStats | undefined,
  starved: readonly Threshold[],
  observations: Observations,
): EvictionReport {
  const resource = resourceOf(starved[0]!.signal);
  let message = `The node was low on resource: ${resource}. `;
  const cause = starved.find(({ signal }) => resourceOf(signal) === resource && observations.has(signal));
  if (cause) {
    const { available, capacity } = observations.get(cause.signal)!;
    const quantity = amountOf(cause.value, capacity);
    message += `Threshold quantity: ${amount(resource, quantity)}, available: ${amount(resource, available)}. `;
  }
  if (!stats) return { message, annotations: {} };
  const annotations: Record<string, string> = {};
  const ofPod = pod.spec.resources?.requests?.[resource];
  if (resource === 'memory' && ofPod !== undefined && stats.memory) {
    const used = formatBytes(stats.memory.workingSetBytes ?? 0);
    message += greedy('Pod', pod.metadata.name, used, ofPod, resource);
    annotations.offending_pod = pod.metadata.name;
    annotations.offending_pod_usage = used;
  }
  const greedyOnes: [name: string, used: string][] = [];
  const specs = [...pod.spec.containers, ...(pod.spec.initContainers ?? [])];
  for (const container of stats.containers) {
    const spec = specs.find(({ name }) => name === container.name);
    const bytes = spec && usedBy(container, resource);
    if (bytes === undefined) continue;
    const request = spec?.resources?.requests?.[resource] ?? '0';
    const used = formatBytes(bytes);
    if (bytes <= bytesOf(request)) continue;
    message += greedy('Container', container.name, used, request, resource);
    greedyOnes.push([container.name, used]);
  }
  annotations.offending_containers = greedyOnes.map(([name]) => name).join(',');
  annotations.offending_containers_usage = greedyOnes.map(([, used]) => used).join(',');
  annotations.starved_resource = resource;
  return { message, annotations };
}

function greedy(what: string, name: string, used: string, request: string, resource: string): string {
  const asked = canonicalQuantity(request);
  return `${what} ${name} was using ${used}, request is ${asked}, has larger consumption of ${resource}. `;
}

function usedBy({ memory, rootfs, logs }: ContainerStats, resource: StarvedResource): number | undefined {
  if (resource === 'memory') return memory?.workingSetBytes;
  if (resource !== 'ephemeral-storage' || rootfs?.usedBytes === undefined || logs?.usedBytes === undefined)
    return undefined;
  return rootfs.usedBytes + logs.usedBytes;
}

const amount = (resource: StarvedResource, value: number) =>
  resource === 'memory' || resource === 'ephemeral-storage' ? formatBytes(value) : canonicalQuantity(Math.round(value));
