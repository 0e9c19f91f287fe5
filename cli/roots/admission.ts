import type { KubeletConfiguration } from '../../agent/config/kubelet-configuration.ts';
import type { AdmitHandlers } from '../../agent/pods/admission-ports.ts';
import { createPreemption, type PreemptDependencies } from '../../agent/pods/preempt.ts';
import { createNodeAdmission } from '../../agent/resources/admission/handlers.ts';
import type { NodeResources } from '../../agent/resources/node-resources.ts';
import type { KubeClient } from '../../src/kube/client.ts';
import { nodes } from '../../src/kube/resources.ts';
import type { Node } from '../../src/kube/types.ts';

export interface AdmissionPartOptions {
  config: Pick<KubeletConfiguration, 'allowedUnsafeSysctls'>;
  nodeName: string;
  client?: KubeClient;
}

export interface AdmissionPartDependencies extends PreemptDependencies {
  /** The node's object, once it is known. */
  node(): Node | undefined;
  allocatable(): NodeResources;
}

/** Who decides on the pods that come to this node; other parts add theirs in their own stages. */
export function createAdmissionPart(options: AdmissionPartOptions, deps: AdmissionPartDependencies): AdmitHandlers {
  const { config, nodeName, client } = options;
  const describe = (node: Node | undefined) => ({
    name: nodeName,
    labels: node?.metadata.labels ?? {},
    taints: node?.spec.taints ?? [],
    allocatable: deps.allocatable(),
    allowedUnsafeSysctls: config.allowedUnsafeSysctls,
  });
  return createNodeAdmission({
    node: () => describe(deps.node()),
    ...(client && { refreshNode: async () => describe(await client.get(nodes, { name: nodeName })) }),
    preempt: createPreemption(deps),
  });
}
