import type { ServerStreaming, Unary } from './client.ts';
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

/** Device plugins, deviceplugin v1beta1: how they register, list devices and give them to containers. The field numbers are the API's. */

const Empty = message({});

export const DEVICE_PLUGIN_VERSION = 'v1beta1';
/** What `health` says of a device that may be given out; anything else is unhealthy. */
export const HEALTHY = 'Healthy';

const PluginOptions = message({
  /** PreStartContainer is to be called before each start of a container. */
  preStartRequired: field(1, flag),
  getPreferredAllocationAvailable: field(2, flag),
});
export type DevicePluginOptions = ValueOf<typeof PluginOptions>;

const RegisterRequest = message({
  version: field(1, text),
  /** Name of the plugin's own socket, beside the one it registers at. */
  endpoint: field(2, text),
  resourceName: field(3, text),
  options: nested(4, PluginOptions),
});
export type RegisterRequest = ValueOf<typeof RegisterRequest>;

const NumaNode = message({ id: field(1, integer) });
const TopologyInfo = message({ nodes: repeated(1, asKind(NumaNode)) });
const Device = message({
  id: field(1, text),
  health: field(2, text),
  topology: nested(3, TopologyInfo),
});
export type ListedDevice = ValueOf<typeof Device>;
const ListAndWatchResponse = message({ devices: repeated(1, asKind(Device)) });

const ContainerPreferredRequest = message({
  availableDeviceIds: repeated(1, text),
  mustIncludeDeviceIds: repeated(2, text),
  allocationSize: field(3, integer),
});
const PreferredRequest = message({ containerRequests: repeated(1, asKind(ContainerPreferredRequest)) });
const ContainerPreferredResponse = message({ deviceIds: repeated(1, text) });
const PreferredResponse = message({ containerResponses: repeated(1, asKind(ContainerPreferredResponse)) });

const DeviceIds = message({ devicesIds: repeated(1, text) });
const AllocateRequest = message({ containerRequests: repeated(1, asKind(DeviceIds)) });
const Mount = message({ containerPath: field(1, text), hostPath: field(2, text), readOnly: field(3, flag) });
const DeviceSpec = message({ containerPath: field(1, text), hostPath: field(2, text), permissions: field(3, text) });
const CdiDevice = message({ name: field(1, text) });
/** What a container with the devices gets. Checkpoints keep it in these bytes. */
export const ContainerAllocateResponse = message({
  envs: textMap(1),
  mounts: repeated(2, asKind(Mount)),
  devices: repeated(3, asKind(DeviceSpec)),
  annotations: textMap(4),
  /** Fully qualified names: `vendor.com/gpu=0`. */
  cdiDevices: repeated(5, asKind(CdiDevice)),
});
export type ContainerAllocateResponse = ValueOf<typeof ContainerAllocateResponse>;
const AllocateResponse = message({ containerResponses: repeated(1, asKind(ContainerAllocateResponse)) });

export const deviceRegistration = {
  register: { path: '/v1beta1.Registration/Register', request: RegisterRequest, response: Empty },
};

const method = <Request, Response>(
  name: string,
  request: Message<Request>,
  response: Message<Response>,
): Unary<Request, Response> => ({ path: `/v1beta1.DevicePlugin/${name}`, request, response });

const listAndWatch: ServerStreaming<ValueOf<typeof Empty>, ValueOf<typeof ListAndWatchResponse>> = {
  ...method('ListAndWatch', Empty, ListAndWatchResponse),
  streams: true,
};

export const devicePlugin = {
  getOptions: method('GetDevicePluginOptions', Empty, PluginOptions),
  listAndWatch,
  getPreferredAllocation: method('GetPreferredAllocation', PreferredRequest, PreferredResponse),
  allocate: method('Allocate', AllocateRequest, AllocateResponse),
  preStartContainer: method('PreStartContainer', DeviceIds, Empty),
};
