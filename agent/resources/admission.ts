import type { Pod, Taint, Toleration } from '../../src/kube/types.ts';
import type { AdmitHandlers, Rejection } from '../pods/ports.ts';
import { nodeMatches } from './node-affinity.ts';
import type { NodeResources } from './node-resources.ts';
import { plus, podRequests, type ResourceAmounts } from './requests.ts';
import { whyForbiddenSysctl } from './sysctls.ts';

export interface AdmittingNode {
  name: string;
  labels: Record<string, string>;
  taints: readonly Taint[];
  allocatable: NodeResources;
  /** Unsafe sysctls that the configuration allows; a trailing `*` matches the rest. */
  allowedUnsafeSysctls: readonly string[];
}

/** What this node itself decides on a pod (sheet §17), from its labels, taints and resources at that moment. */
export function createNodeAdmission(node: () => AdmittingNode): AdmitHandlers {
  return {
    sysctls: { name: 'sysctls', admit: (pod) => checkSysctls(pod, node().allowedUnsafeSysctls) },
    allocation: { name: 'allocation', admit: (pod, others) => checkResources(pod, others, node().allocatable) },
    predicates: {
      name: 'predicates',
      admit: (pod, others) => checkOperatingSystem(pod, node()) ?? checkPredicates(pod, others, node()),
    },
  };
}

function checkSysctls(pod: Pod, allowedUnsafe: readonly string[]): Rejection | undefined {
  const message = whyForbiddenSysctl(pod, allowedUnsafe);
  return message === undefined ? undefined : { reason: 'SysctlForbidden', message };
}

function checkOperatingSystem(pod: Pod, node: AdmittingNode): Rejection | undefined {
  const wanted = pod.spec.nodeSelector?.['kubernetes.io/os'];
  if (wanted !== undefined && wanted !== (node.labels['kubernetes.io/os'] ?? 'linux'))
    return {
      reason: 'PodOSSelectorNodeLabelDoesNotMatch',
      message: "Failed to admit pod as the `kubernetes.io/os` label doesn't match node label",
    };
  if (pod.spec.os && pod.spec.os.name !== 'linux')
    return {
      reason: 'PodOSNotSupported',
      message: "Failed to admit pod as the OS field doesn't match node OS",
    };
  return undefined;
}

function checkResources(pod: Pod, others: readonly Pod[], allocatable: NodeResources): Rejection | undefined {
  const insufficient = (resource: string, requested: number, used: number, capacity: number): Rejection => ({
    reason: `OutOf${resource}`,
    message: `Node didn't have enough resource: ${resource}, requested: ${requested}, used: ${used}, capacity: ${capacity}`,
  });
  if (others.length + 1 > allocatable.pods) return insufficient('pods', 1, others.length, allocatable.pods);
  const capacity: ResourceAmounts = {
    cpu: allocatable.cpuMillis,
    memory: allocatable.memoryBytes,
    'ephemeral-storage': allocatable.ephemeralStorageBytes,
  };
  const used = others.map(podRequests).reduce(plus, {});
  const requests = podRequests(pod);
  // Resources that this node knows nothing of are not its to refuse.
  for (const [resource, most] of Object.entries(capacity)) {
    const requested = requests[resource] ?? 0;
    const taken = used[resource] ?? 0;
    if (requested > 0 && taken + requested > most) return insufficient(resource, requested, taken, most);
  }
  return undefined;
}

function checkPredicates(pod: Pod, others: readonly Pod[], node: AdmittingNode): Rejection | undefined {
  const failed = (name: string, description: string): Rejection => ({
    reason: name,
    message: `Predicate ${name} failed: ${description}`,
  });
  if (!nodeMatches(pod, node)) return failed('NodeAffinity', "node(s) didn't match Pod's node affinity/selector");
  if (pod.spec.nodeName && pod.spec.nodeName !== node.name)
    return failed('NodeName', "node(s) didn't match the requested node name");
  const taken = others.flatMap(hostPortsOf);
  if (hostPortsOf(pod).some((port) => taken.some((other) => portsClash(port, other))))
    return failed('NodePorts', "node(s) didn't have free ports for the requested pod ports");
  const evicting = node.taints.filter((taint) => taint.effect === 'NoExecute');
  if (!isStatic(pod) && evicting.some((taint) => !(pod.spec.tolerations ?? []).some((one) => tolerates(one, taint))))
    return failed('TaintToleration', "node(s) had taints that the pod didn't tolerate");
  return undefined;
}

interface UsedPort {
  hostPort: number;
  protocol: string;
  hostIP: string;
}

function hostPortsOf(pod: Pod): UsedPort[] {
  const sidecars = (pod.spec.initContainers ?? []).filter((container) => container.restartPolicy === 'Always');
  return [...pod.spec.containers, ...sidecars].flatMap((container) =>
    (container.ports ?? []).flatMap(({ hostPort, protocol, hostIP }) =>
      hostPort ? [{ hostPort, protocol: protocol ?? 'TCP', hostIP: hostIP || '0.0.0.0' }] : [],
    ),
  );
}

function portsClash(left: UsedPort, right: UsedPort): boolean {
  const anyAddress = left.hostIP === '0.0.0.0' || right.hostIP === '0.0.0.0';
  return (
    left.hostPort === right.hostPort && left.protocol === right.protocol && (anyAddress || left.hostIP === right.hostIP)
  );
}

function isStatic(pod: Pod): boolean {
  const source = pod.metadata.annotations?.['kubernetes.io/config.source'];
  return source !== undefined && source !== 'api';
}

/** Whether the toleration accepts the taint; an empty key with Exists accepts all, an empty effect any effect. */
export function tolerates(toleration: Toleration, taint: Taint): boolean {
  if (toleration.effect && toleration.effect !== taint.effect) return false;
  if (toleration.key && toleration.key !== taint.key) return false;
  if (toleration.operator === 'Exists') return true;
  return (
    (toleration.operator ?? 'Equal') === 'Equal' && !!toleration.key && (toleration.value ?? '') === (taint.value ?? '')
  );
}
