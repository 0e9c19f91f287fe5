import { existsSync, rmSync, watch } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import {
  Server,
  ServerCredentials,
  type ServerWritableStream,
  type ServiceDefinition,
  status,
  type UntypedServiceImplementation,
} from '@grpc/grpc-js';
import { connectGrpc, type Unary } from '../../src/grpc/client.ts';
import {
  type ContainerAllocateResponse,
  DEVICE_PLUGIN_VERSION,
  devicePlugin,
  deviceRegistration,
  type ListedDevice,
} from '../../src/grpc/device-plugin.ts';
import { pluginRegistration } from '../../src/grpc/plugin-registration.ts';

export interface TestDevice {
  id: string;
  sick?: boolean;
  numaNodes?: number[];
}

export interface DevicePluginSettings {
  resource: string;
  devices: TestDevice[];
  /** What every container gets, beside the variable `TEST_DEVICES` with the ids. */
  response?: Partial<ContainerAllocateResponse>;
  preStart?: boolean;
  /** Asked for its preference it wants these first. */
  prefers?: string[];
  version?: string;
  /** Name of its socket. */
  endpoint?: string;
}

export interface PluginCall {
  method: string;
  ids: string[];
}

export interface TestDevicePlugin {
  readonly calls: PluginCall[];
  /** Lists these from now on. */
  list(devices: TestDevice[]): void;
  /** Calls of the method fail with this text; undefined: no more. */
  fail(method: string, message: string | undefined): void;
  /** At `<directory>/kubelet.sock`. Rejects when it is refused. */
  register(): Promise<void>;
  /** Makes its socket anew: the agent has removed it. */
  listenAgain(): Promise<void>;
  /** Ends it; its socket goes with it. */
  stop(): void;
}

/** A device plugin for tests, in this process: it serves in the directory, and registers when told. */
export async function startDevicePlugin(directory: string, settings: DevicePluginSettings): Promise<TestDevicePlugin> {
  const { resource, preStart = false, prefers, version = DEVICE_PLUGIN_VERSION } = settings;
  const endpoint = settings.endpoint ?? `${resource.replaceAll(/[^a-z0-9]/g, '-')}.sock`;
  const socket = join(directory, endpoint);
  const calls: PluginCall[] = [];
  const failures = new Map<string, string>();
  const watchers = new Set<ServerWritableStream<unknown, { devices: ListedDevice[] }>>();
  let devices = settings.devices;
  const definition: Record<string, unknown> = {};
  const handlers: UntypedServiceImplementation = {};
  const listed = () => ({
    devices: devices.map(({ id, sick, numaNodes }) => ({
      id,
      health: sick ? 'Unhealthy' : 'Healthy',
      topology: numaNodes && { nodes: numaNodes.map((node) => ({ id: node })) },
    })),
  });

  function handle<Request, Response>(
    method: Unary<Request, Response>,
    ids: (request: Request) => string[],
    answer: (request: Request) => Response,
  ): void {
    const name = method.path.split('/').at(-1)!;
    definition[name] = shape(method, false);
    handlers[name] = (
      call: { request: Request },
      done: (error: { code: number; details: string } | null, response?: Response) => void,
    ) => {
      calls.push({ method: name, ids: ids(call.request) });
      const failure = failures.get(name);
      if (failure === undefined) done(null, answer(call.request));
      else done({ code: status.FAILED_PRECONDITION, details: failure });
    };
  }

  handle(
    devicePlugin.getOptions,
    () => [],
    () => ({ preStartRequired: preStart, getPreferredAllocationAvailable: prefers !== undefined }),
  );
  handle(
    devicePlugin.getPreferredAllocation,
    ({ containerRequests }) => containerRequests[0]!.availableDeviceIds,
    ({ containerRequests }) => {
      const [{ availableDeviceIds, mustIncludeDeviceIds, allocationSize }] = containerRequests as [
        (typeof containerRequests)[0],
      ];
      const wanted = [...mustIncludeDeviceIds, ...(prefers ?? []).filter((id) => availableDeviceIds.includes(id))];
      return { containerResponses: [{ deviceIds: [...new Set(wanted)].slice(0, allocationSize) }] };
    },
  );
  handle(
    devicePlugin.allocate,
    ({ containerRequests }) => containerRequests[0]!.devicesIds,
    ({ containerRequests }) => ({
      containerResponses: containerRequests.map(({ devicesIds }) => ({
        mounts: [],
        devices: [],
        annotations: {},
        cdiDevices: [],
        ...settings.response,
        envs: { TEST_DEVICES: devicesIds.join(','), ...settings.response?.envs },
      })),
    }),
  );
  handle(
    devicePlugin.preStartContainer,
    ({ devicesIds }) => devicesIds,
    () => ({}),
  );
  definition['ListAndWatch'] = shape(devicePlugin.listAndWatch, true);
  handlers['ListAndWatch'] = (call: ServerWritableStream<unknown, { devices: ListedDevice[] }>) => {
    watchers.add(call);
    call.on('close', () => watchers.delete(call));
    call.on('error', () => watchers.delete(call));
    call.write(listed());
  };

  await mkdir(directory, { recursive: true });
  async function serve(): Promise<Server> {
    rmSync(socket, { force: true });
    const made = new Server();
    made.addService(definition as ServiceDefinition, handlers);
    await listen(made, socket);
    return made;
  }
  let server = await serve();

  return {
    calls,
    list(next) {
      devices = next;
      for (const watcher of watchers) watcher.write(listed());
    },
    fail(method, message) {
      if (message === undefined) failures.delete(method);
      else failures.set(method, message);
    },
    async register() {
      const client = connectGrpc(join(directory, 'kubelet.sock'));
      try {
        await client.call(
          deviceRegistration.register,
          { version, endpoint, resourceName: resource, options: undefined },
          { timeoutMs: 10_000 },
        );
      } finally {
        client.close();
      }
    },
    async listenAgain() {
      server.forceShutdown();
      server = await serve();
    },
    stop() {
      server.forceShutdown();
      rmSync(socket, { force: true });
    },
  };
}

/** Makes a plugin known in the registry directory instead. @returns ends it */
export async function announceDevicePlugin(
  registry: string,
  info: { name: string; endpoint: string; versions: string[] },
  onStatus: (status: { pluginRegistered: boolean; error: string }) => void,
): Promise<() => void> {
  const server = new Server();
  server.addService(
    {
      GetInfo: shape(pluginRegistration.getInfo, false),
      Notify: shape(pluginRegistration.notifyRegistrationStatus, false),
    } as unknown as ServiceDefinition,
    {
      GetInfo: (_: unknown, done: (error: null, response: object) => void) =>
        done(null, {
          type: 'DevicePlugin',
          name: info.name,
          endpoint: info.endpoint,
          supportedVersions: info.versions,
        }),
      Notify: (
        call: { request: { pluginRegistered: boolean; error: string } },
        done: (error: null, response: object) => void,
      ) => {
        onStatus(call.request);
        done(null, {});
      },
    },
  );
  await mkdir(registry, { recursive: true });
  const socket = join(registry, 'device-reg.sock');
  await listen(server, socket);
  return () => {
    server.forceShutdown();
    rmSync(socket, { force: true });
  };
}

/** Calls back when the agent has made its socket anew, as a plugin notices a restarted agent. @returns ends it */
export function onAgentSocket(directory: string, handler: () => Promise<void>): () => void {
  let timer: NodeJS.Timeout | undefined;
  const watcher = watch(directory, (_, name) => {
    if (name !== 'kubelet.sock') return;
    // Several events are one socket.
    clearTimeout(timer);
    timer = setTimeout(() => {
      if (existsSync(join(directory, name))) handler().catch((error) => process.emitWarning(error));
    }, 100);
  });
  return () => {
    clearTimeout(timer);
    watcher.close();
  };
}

async function listen(server: Server, socket: string): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    server.bindAsync(`unix://${socket}`, ServerCredentials.createInsecure(), (error) =>
      error ? reject(error) : resolve(),
    );
  });
}

function shape<Request, Response>(method: Unary<Request, Response>, responseStream: boolean) {
  return {
    path: method.path,
    requestStream: false,
    responseStream,
    requestSerialize: method.request.encode,
    requestDeserialize: method.request.decode,
    responseSerialize: method.response.encode,
    responseDeserialize: method.response.decode,
  };
}
