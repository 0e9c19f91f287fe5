import type { Taint } from '../../../src/kube/types.ts';
import type { NodeResources } from '../node-resources.ts';

/** What of this node decides whether it takes a pod. */
export interface AdmittingNode {
  name: string;
  labels: Record<string, string>;
  taints: readonly Taint[];
  allocatable: NodeResources;
  /** Unsafe sysctls that the configuration allows; a trailing `*` matches the rest. */
  allowedUnsafeSysctls: readonly string[];
}
