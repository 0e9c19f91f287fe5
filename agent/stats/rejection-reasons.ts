/** Reasons that are series of their own. The names of what a node has are not: there may be any number of them. */
const KNOWN = new Set([
  'AppArmor',
  'Evicted',
  'NodeAffinity',
  'NodeName',
  'NodePorts',
  'NodeShutdown',
  'OutOfcpu',
  'OutOfephemeral-storage',
  'OutOfmemory',
  'OutOfpods',
  'PodFeatureUnsupported',
  'PodOSNotSupported',
  'PodOSSelectorNodeLabelDoesNotMatch',
  'SMTAlignmentError',
  'SysctlForbidden',
  'TaintToleration',
  'TopologyAffinityError',
  'UnexpectedAdmissionError',
  'VolumeAttachmentLimitExceeded',
]);

/** The `reason` of kubelet_admission_rejections_total, as upstream groups them. */
export function rejectionLabel(reason: string): string {
  if (KNOWN.has(reason)) return reason;
  return reason.startsWith('OutOf') ? 'OutOfExtendedResources' : 'Other';
}
