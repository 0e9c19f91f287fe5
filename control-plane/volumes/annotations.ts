/** Marks on volumes and claims that upstream's controllers, schedulers and provisioners know each other by. */

/** On a claim: it has been bound; from then on a lost volume is a loss, not a wait. */
export const BIND_COMPLETED = 'pv.kubernetes.io/bind-completed';
/** On a volume: the controller or scheduler chose it, so it may be taken back. On a claim: likewise for its volumeName. */
export const BOUND_BY_CONTROLLER = 'pv.kubernetes.io/bound-by-controller';
/** On a volume: who made it, and hence who deletes it. */
export const PROVISIONED_BY = 'pv.kubernetes.io/provisioned-by';
/** On a claim: the node whose pod waits for it. */
export const SELECTED_NODE = 'volume.kubernetes.io/selected-node';
/** On a claim: who shall make its volume. */
export const STORAGE_PROVISIONER = 'volume.kubernetes.io/storage-provisioner';
export const STORAGE_PROVISIONER_BETA = 'volume.beta.kubernetes.io/storage-provisioner';
