import type { Unary } from './client.ts';
import {
  asKind,
  field,
  flag,
  integer,
  type Message,
  message,
  nested,
  repeated,
  text,
  textMap,
  type ValueOf,
} from './message.ts';

/** The node's side of the Container Storage Interface, csi.v1 (Identity and Node services; the field numbers are the specification's). */

const Empty = message({});

const PluginInfo = message({ name: field(1, text), vendorVersion: field(2, text) });
const BoolValue = message({ value: field(1, flag) });
/** No answer about readiness counts as ready. */
const ProbeResponse = message({ ready: nested(1, BoolValue) });

const MountVolume = message({
  fsType: field(1, text),
  mountFlags: repeated(2, text),
  volumeMountGroup: field(3, text),
});
const AccessMode = message({ mode: field(1, integer) });
const VolumeCapability = message({
  /** The volume as a raw device. */
  block: nested(1, Empty),
  mount: nested(2, MountVolume),
  accessMode: nested(3, AccessMode),
});
export type VolumeCapability = ValueOf<typeof VolumeCapability>;

/** VolumeCapability.AccessMode.Mode */
export const ACCESS_MODE = {
  SINGLE_NODE_WRITER: 1,
  SINGLE_NODE_READER_ONLY: 2,
  MULTI_NODE_READER_ONLY: 3,
  MULTI_NODE_SINGLE_WRITER: 4,
  MULTI_NODE_MULTI_WRITER: 5,
  SINGLE_NODE_SINGLE_WRITER: 6,
  SINGLE_NODE_MULTI_WRITER: 7,
} as const;

const StageRequest = message({
  volumeId: field(1, text),
  publishContext: textMap(2),
  stagingTargetPath: field(3, text),
  volumeCapability: nested(4, VolumeCapability),
  secrets: textMap(5),
  volumeContext: textMap(6),
});
const UnstageRequest = message({ volumeId: field(1, text), stagingTargetPath: field(2, text) });
const PublishRequest = message({
  volumeId: field(1, text),
  publishContext: textMap(2),
  stagingTargetPath: field(3, text),
  targetPath: field(4, text),
  volumeCapability: nested(5, VolumeCapability),
  readonly: field(6, flag),
  secrets: textMap(7),
  volumeContext: textMap(8),
});
export type PublishRequest = ValueOf<typeof PublishRequest>;
const UnpublishRequest = message({ volumeId: field(1, text), targetPath: field(2, text) });

const StatsRequest = message({
  volumeId: field(1, text),
  volumePath: field(2, text),
  stagingTargetPath: field(3, text),
});
const VolumeUsage = message({
  available: field(1, integer),
  total: field(2, integer),
  used: field(3, integer),
  unit: field(4, integer),
});
const VolumeCondition = message({ abnormal: field(1, flag), message: field(2, text) });
const StatsResponse = message({ usage: repeated(1, asKind(VolumeUsage)), volumeCondition: nested(2, VolumeCondition) });

export type VolumeStatsAnswer = ValueOf<typeof StatsResponse>;
/** VolumeUsage.Unit */
export const USAGE_UNIT = { BYTES: 1, INODES: 2 } as const;

const Rpc = message({ type: field(1, integer) });
const NodeCapability = message({ rpc: nested(1, Rpc) });
const CapabilitiesResponse = message({ capabilities: repeated(1, asKind(NodeCapability)) });

/** NodeServiceCapability.RPC.Type */
export const NODE_CAPABILITY = {
  STAGE_UNSTAGE_VOLUME: 1,
  GET_VOLUME_STATS: 2,
  EXPAND_VOLUME: 3,
  VOLUME_CONDITION: 4,
  SINGLE_NODE_MULTI_WRITER: 5,
  VOLUME_MOUNT_GROUP: 6,
} as const;

const Topology = message({ segments: textMap(1) });
const InfoResponse = message({
  nodeId: field(1, text),
  maxVolumesPerNode: field(2, integer),
  accessibleTopology: nested(3, Topology),
});
export type NodeInfo = ValueOf<typeof InfoResponse>;

const method =
  (service: string) =>
  <Request, Response>(
    name: string,
    request: Message<Request>,
    response: Message<Response>,
  ): Unary<Request, Response> => ({
    path: `/csi.v1.${service}/${name}`,
    request,
    response,
  });
const identity = method('Identity');
const node = method('Node');

export const csiIdentity = {
  getPluginInfo: identity('GetPluginInfo', Empty, PluginInfo),
  probe: identity('Probe', Empty, ProbeResponse),
};

export const csiNode = {
  stageVolume: node('NodeStageVolume', StageRequest, Empty),
  unstageVolume: node('NodeUnstageVolume', UnstageRequest, Empty),
  publishVolume: node('NodePublishVolume', PublishRequest, Empty),
  unpublishVolume: node('NodeUnpublishVolume', UnpublishRequest, Empty),
  getVolumeStats: node('NodeGetVolumeStats', StatsRequest, StatsResponse),
  getCapabilities: node('NodeGetCapabilities', Empty, CapabilitiesResponse),
  getInfo: node('NodeGetInfo', Empty, InfoResponse),
};
