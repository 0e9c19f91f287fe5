import type { Pod } from '../../../src/kube/types.ts';
import type { Rejection } from '../../pods/admission-ports.ts';
import { isStaticPod } from '../../pods/annotations.ts';
import { nodeMatches } from '../node-affinity.ts';
import { findExtendedShortages, rejectShortage } from './fit.ts';
import { hostPortsClash } from './host-ports.ts';
import type { AdmittingNode } from './node.ts';
import { tolerates } from './tolerations.ts';

/** What a pod asks of the node beside resources of its own (upstream's predicates, in their order). Pure. */
export function checkPredicates(pod: Pod, others: readonly Pod[], node: AdmittingNode): Rejection | undefined {
  return checkOperatingSystem(pod, node) ?? checkExtended(pod, others, node) ?? checkPlace(pod, others, node);
}

/** A pod that another node's labels would suit; they may have changed since they were read. */
export const NODE_AFFINITY = 'NodeAffinity';

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

function checkExtended(pod: Pod, others: readonly Pod[], { allocatable }: AdmittingNode): Rejection | undefined {
  const [shortage] = findExtendedShortages(pod, others, allocatable);
  return shortage && rejectShortage(shortage);
}

function checkPlace(pod: Pod, others: readonly Pod[], node: AdmittingNode): Rejection | undefined {
  const failed = (name: string, description: string): Rejection => ({
    reason: name,
    message: `Predicate ${name} failed: ${description}`,
  });
  if (!nodeMatches(pod, node)) return failed(NODE_AFFINITY, "node(s) didn't match Pod's node affinity/selector");
  if (pod.spec.nodeName && pod.spec.nodeName !== node.name)
    return failed('NodeName', "node(s) didn't match the requested node name");
  if (hostPortsClash(pod, others))
    return failed('NodePorts', "node(s) didn't have free ports for the requested pod ports");
  const evicting = node.taints.filter((taint) => taint.effect === 'NoExecute');
  const untolerated = evicting.some((taint) => !pod.spec.tolerations?.some((one) => tolerates(one, taint)));
  if (untolerated && !isStaticPod(pod))
    return failed('TaintToleration', "node(s) had taints that the pod didn't tolerate");
  return undefined;
}
