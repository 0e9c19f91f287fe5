import { goQuote } from '../../src/kube/go-quote.ts';
import { parseQuantity } from '../../src/kube/quantity.ts';
import type { Container, Pod, ResourceFieldSelector } from '../../src/kube/types.ts';
import { configError } from './errors.ts';
import { divide } from './resource-fields.ts';

export interface NodeAllocatable {
  cpuMillis: number;
  memoryBytes: number;
  ephemeralStorageBytes: number;
}

/** What fields of `status.*` show when the container is made. */
export interface PodAddresses {
  podIps: string[];
  hostIps: string[];
}

const SUBSCRIPT = /^(metadata\.(?:labels|annotations))\['([^']+)'\]$/;

/** The value of a downward API field; undefined when there is no such field. Volumes may also ask for all labels and annotations. */
export function podField(pod: Pod, fieldPath: string, addresses: PodAddresses): string | undefined {
  const { metadata, spec } = pod;
  const subscript = SUBSCRIPT.exec(fieldPath);
  if (subscript) {
    const map = subscript[1] === 'metadata.labels' ? metadata.labels : metadata.annotations;
    return map?.[subscript[2]!] ?? '';
  }
  switch (fieldPath) {
    case 'metadata.name':
      return metadata.name;
    case 'metadata.namespace':
      return metadata.namespace ?? '';
    case 'metadata.uid':
      return metadata.uid;
    case 'metadata.labels':
      return formatMap(metadata.labels);
    case 'metadata.annotations':
      return formatMap(metadata.annotations);
    case 'spec.nodeName':
      return spec.nodeName ?? '';
    case 'spec.serviceAccountName':
      return spec.serviceAccountName ?? '';
    case 'status.hostIP':
      return addresses.hostIps[0] ?? '';
    case 'status.hostIPs':
      return addresses.hostIps.join(',');
    case 'status.podIP':
      return addresses.podIps[0] ?? '';
    case 'status.podIPs':
      return addresses.podIps.join(',');
    default:
      return undefined;
  }
}

/** Lines `key="escaped value"`, sorted by key, as downward API files show maps. */
function formatMap(map: Record<string, string> | undefined): string {
  return Object.entries(map ?? {})
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, value]) => `${key}=${goQuote(value)}`)
    .join('\n');
}

/** Whether the value is known only when the pod has its address. */
export function needsPodAddress(fieldPath: string): boolean {
  return fieldPath === 'status.podIP' || fieldPath === 'status.podIPs';
}

/**
 * The value of `limits.cpu`, `requests.memory`, …: divided by the divisor, rounded up; a missing limit (or one of 0) is the
 * pod's own, else the node's.
 */
export function containerResourceField(
  pod: Pod,
  self: Container | undefined,
  selector: ResourceFieldSelector,
  allocatable: NodeAllocatable,
): string {
  const containers = [...(pod.spec.initContainers ?? []), ...pod.spec.containers];
  const container = selector.containerName ? containers.find(({ name }) => name === selector.containerName) : self;
  if (!container) throw configError(`container ${selector.containerName} not found`);
  const match = /^(limits|requests)\.(.+)$/.exec(selector.resource);
  if (!match) throw configError(`unsupported container resource : ${selector.resource}`);
  const kind = match[1] as 'limits' | 'requests';
  const resource = match[2]!;
  const own = container.resources?.[kind]?.[resource];
  const ofPod = pod.spec.resources?.limits;
  const fallback: Record<string, string> = {
    cpu: ofPod?.['cpu'] ?? `${allocatable.cpuMillis}m`,
    memory: ofPod?.['memory'] ?? `${allocatable.memoryBytes}`,
    'ephemeral-storage': `${allocatable.ephemeralStorageBytes}`,
  };
  if (!(resource in fallback) && !resource.startsWith('hugepages-'))
    throw configError(`unsupported container resource : ${selector.resource}`);
  const isSet = own !== undefined && parseQuantity(own).nano !== 0n;
  return divide(isSet ? own : kind === 'limits' ? (fallback[resource] ?? '0') : '0', selector.divisor);
}
