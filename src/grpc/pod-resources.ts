import {
  asKind,
  field,
  integer,
  integers,
  type Message,
  message,
  nested,
  repeated,
  text,
  type ValueOf,
} from './message.ts';

/** What pods hold of the node, podresources v1 (and its first version, which knows devices alone). The field numbers are the API's. */

const Empty = message({});

const NumaNode = message({ id: field(1, integer) });
const TopologyInfo = message({ nodes: repeated(1, asKind(NumaNode)) });
const ContainerDevices = message({
  resourceName: field(1, text),
  deviceIds: repeated(2, text),
  topology: nested(3, TopologyInfo),
});
export type ContainerDevices = ValueOf<typeof ContainerDevices>;
const ContainerMemory = message({
  /** `memory`, `hugepages-2Mi`. */
  memoryType: field(1, text),
  size: field(2, integer),
  topology: nested(3, TopologyInfo),
});
export type ContainerMemory = ValueOf<typeof ContainerMemory>;
const ContainerResources = message({
  name: field(1, text),
  devices: repeated(2, asKind(ContainerDevices)),
  /** Exclusive ones. */
  cpuIds: integers(3),
  memory: repeated(4, asKind(ContainerMemory)),
});
export type ContainerResources = ValueOf<typeof ContainerResources>;
const PodResources = message({
  name: field(1, text),
  namespace: field(2, text),
  containers: repeated(3, asKind(ContainerResources)),
});
export type PodResources = ValueOf<typeof PodResources>;

const ListResponse = message({ podResources: repeated(1, asKind(PodResources)) });
const AllocatableResponse = message({
  devices: repeated(1, asKind(ContainerDevices)),
  cpuIds: integers(2),
  memory: repeated(3, asKind(ContainerMemory)),
});
export type AllocatableResources = ValueOf<typeof AllocatableResponse>;
const GetRequest = message({ podName: field(1, text), podNamespace: field(2, text) });
const GetResponse = message({ podResources: nested(1, PodResources) });

const lister =
  (version: string) =>
  <Request, Response>(name: string, request: Message<Request>, response: Message<Response>) => ({
    path: `/${version}.PodResourcesLister/${name}`,
    request,
    response,
  });
const v1 = lister('v1');

export const podResourcesLister = {
  list: v1('List', Empty, ListResponse),
  getAllocatableResources: v1('GetAllocatableResources', Empty, AllocatableResponse),
  get: v1('Get', GetRequest, GetResponse),
};

const FirstDevices = message({ resourceName: field(1, text), deviceIds: repeated(2, text) });
const FirstContainer = message({ name: field(1, text), devices: repeated(2, asKind(FirstDevices)) });
const FirstPod = message({
  name: field(1, text),
  namespace: field(2, text),
  containers: repeated(3, asKind(FirstContainer)),
});
const FirstListResponse = message({ podResources: repeated(1, asKind(FirstPod)) });

export const podResourcesListerV1alpha1 = {
  list: lister('v1alpha1')('List', Empty, FirstListResponse),
};
