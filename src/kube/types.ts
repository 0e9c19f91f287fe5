/**
 * Kubernetes' wire types by their own names. Generated (see docs/adr/0002) but for the few shapes below; where two groups
 * use one name, the one of core/v1 wins. Other groups: import from `./schema/generated/types/<package>-<version>.ts`.
 */
import type { ObjectMeta, PartialObjectMetadata } from './schema/generated/types/meta-v1.ts';

export type * from './schema/generated/types/apps-v1.ts';
export type * from './schema/generated/types/coordination-v1.ts';
export type * from './schema/generated/types/core-v1.ts';
export type { ConditionStatus, List } from './schema/generated/types/core-v1.ts';
export type {
  Endpoint,
  EndpointConditions,
  EndpointHints,
  EndpointPort as DiscoveryEndpointPort,
  EndpointSlice,
  EndpointSliceList,
  ForNode,
  ForZone,
} from './schema/generated/types/discovery-v1.ts';
export type * from './schema/generated/types/meta-v1.ts';
export type * from './schema/generated/types/special.ts';
export type {
  CSIDriver,
  CSIDriverSpec,
  CSINode,
  CSINodeDriver,
  StorageClass,
  VolumeAttachment,
} from './schema/generated/types/storage-v1.ts';

/** Any object that has a name: what client, informers and the store need of it. */
export interface KubeObject {
  apiVersion?: string;
  kind?: string;
  metadata: ObjectMeta;
}

/** An object as a client sends it for create: what the server fills in may be absent. */
export type Draft<T extends KubeObject> = T extends { status?: infer S }
  ? Omit<T, 'metadata' | 'status'> & { metadata: Partial<ObjectMeta>; status?: S }
  : Omit<T, 'metadata'> & { metadata: Partial<ObjectMeta> };

/** A list as the server answers it; `items` is never null. */
export interface KubeList<T extends KubeObject> {
  apiVersion?: string;
  kind?: string;
  metadata: { resourceVersion?: string; continue?: string; remainingItemCount?: number };
  items: T[];
}

/** One line of a watch. BOOKMARK carries only a resourceVersion; ERROR a Status. */
export type WatchEvent<T extends KubeObject = KubeObject> =
  | { type: 'ADDED' | 'MODIFIED' | 'DELETED'; object: T }
  | { type: 'BOOKMARK'; object: PartialObjectMetadata }
  | { type: 'ERROR'; object: import('./schema/generated/types/meta-v1.ts').Status };
