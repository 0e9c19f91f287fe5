import type { KubeletConfiguration } from '../../agent/config/kubelet-configuration.ts';
import type { AdmitHandlers } from '../../agent/pods/ports.ts';
import { createNodeAdmission } from '../../agent/resources/admission.ts';
import type { NodeResources } from '../../agent/resources/node-resources.ts';
import type { Node } from '../../src/kube/types.ts';

export interface AdmissionPartOptions {
  config: Pick<KubeletConfiguration, 'allowedUnsafeSysctls'>;
  nodeName: string;
}

export interface AdmissionPartDependencies {
  /** The node's object, once it is known. */
  node(): Node | undefined;
  allocatable(): NodeResources;
}

/** Who decides on the pods that come to this node; other parts add theirs in their own stages. */
export function createAdmissionPart(options: AdmissionPartOptions, deps: AdmissionPartDependencies): AdmitHandlers {
  const { config, nodeName } = options;
  return createNodeAdmission(() => {
    const node = deps.node();
    return {
      name: nodeName,
      labels: node?.metadata.labels ?? {},
      taints: node?.spec.taints ?? [],
      allocatable: deps.allocatable(),
      allowedUnsafeSysctls: config.allowedUnsafeSysctls,
    };
  });
}
