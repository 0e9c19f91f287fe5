/**
 * A CSI driver for tests: volumes are directories below `data`, mounted by binds. It does as the specification asks
 * (idempotent, no memory but the mount table), writes down every call, and can be told by files in `control` to refuse
 * (`fail-<Method>`, its content is the message) or to wait (`hold-<Method>`).
 *
 * Arguments: one JSON object, `CsiDriverSettings`.
 */
import { appendFileSync, existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  Server,
  ServerCredentials,
  type ServiceDefinition,
  status,
  type UntypedServiceImplementation,
} from '@grpc/grpc-js';
import type { Unary } from '../../src/grpc/client.ts';
import { csiIdentity, csiNode, NODE_CAPABILITY, USAGE_UNIT } from '../../src/grpc/csi.ts';
import { pluginRegistration } from '../../src/grpc/plugin-registration.ts';
import { isMountPoint, mountFileSystem, unmount } from '../../src/linux/mounts.ts';
import type { CsiDriverSettings } from './csi-driver.ts';

const settings = JSON.parse(process.argv[2]!) as CsiDriverSettings;
const { name, data, control, log } = settings;

type Handler<Request, Response> = (request: Request) => Response | Promise<Response>;

class Refusal extends Error {}

/** Adds one method to a service of grpc-js. */
function serve<Request, Response>(
  service: { definition: Record<string, unknown>; methods: UntypedServiceImplementation },
  method: Unary<Request, Response>,
  handle: Handler<Request, Response>,
): void {
  const short = method.path.split('/').at(-1)!;
  service.definition[short] = {
    path: method.path,
    requestStream: false,
    responseStream: false,
    requestSerialize: method.request.encode,
    requestDeserialize: method.request.decode,
    responseSerialize: method.response.encode,
    responseDeserialize: method.response.decode,
  };
  service.methods[short] = (
    call: { request: Request },
    done: (error: { code: number; details: string } | null, response?: Response) => void,
  ) => {
    const work = async () => {
      appendFileSync(log, `${JSON.stringify({ method: short, request: call.request })}\n`);
      while (existsSync(join(control, `hold-${short}`))) await sleep(20);
      const refusal = join(control, `fail-${short}`);
      if (existsSync(refusal)) throw new Refusal(readFileSync(refusal, 'utf8').trim());
      return handle(call.request);
    };
    work().then(
      (response) => done(null, response),
      (error: Error) =>
        done({ code: error instanceof Refusal ? status.FAILED_PRECONDITION : status.INTERNAL, details: error.message }),
    );
  };
}

function bind(source: string, target: string): void {
  mkdirSync(target, { recursive: true });
  if (!isMountPoint(target)) mountFileSystem({ source, target, flags: ['bind'] });
}

const backing = (volumeId: string) => {
  const path = join(data, volumeId);
  mkdirSync(path, { recursive: true });
  return path;
};

const service = { definition: {}, methods: {} };
serve(service, csiIdentity.getPluginInfo, () => ({ name, vendorVersion: '1.0.0' }));
serve(service, csiIdentity.probe, () => ({ ready: { value: true } }));
serve(service, csiNode.getInfo, () => ({
  nodeId: `${name}-on-${settings.nodeName}`,
  maxVolumesPerNode: 7,
  accessibleTopology: settings.topology ? { segments: settings.topology } : undefined,
}));
serve(service, csiNode.getCapabilities, () => ({
  capabilities: settings.capabilities.map((capability) => ({ rpc: { type: NODE_CAPABILITY[capability] } })),
}));
serve(service, csiNode.stageVolume, ({ volumeId, stagingTargetPath }) => {
  bind(backing(volumeId), stagingTargetPath);
  return {};
});
serve(service, csiNode.unstageVolume, ({ stagingTargetPath }) => {
  unmount(stagingTargetPath);
  return {};
});
serve(service, csiNode.publishVolume, ({ volumeId, stagingTargetPath, targetPath }) => {
  if (stagingTargetPath && !isMountPoint(stagingTargetPath)) throw new Refusal(`volume ${volumeId} is not staged`);
  bind(stagingTargetPath || backing(volumeId), targetPath);
  return {};
});
serve(service, csiNode.unpublishVolume, ({ volumeId, targetPath }) => {
  unmount(targetPath);
  if (existsSync(targetPath)) rmSync(targetPath, { recursive: true });
  if (volumeId.startsWith('csi-')) rmSync(join(data, volumeId), { recursive: true, force: true });
  return {};
});

serve(service, csiNode.getVolumeStats, () => ({
  usage: [
    { total: 1000, available: 600, used: 400, unit: USAGE_UNIT.BYTES },
    { total: 10, available: 7, used: 3, unit: USAGE_UNIT.INODES },
  ],
  volumeCondition: { abnormal: false, message: '' },
}));

const registration = { definition: {}, methods: {} };
serve(registration, pluginRegistration.getInfo, () => ({
  type: 'CSIPlugin',
  name,
  endpoint: settings.endpoint,
  supportedVersions: settings.versions ?? ['1.0.0'],
}));
serve(registration, pluginRegistration.notifyRegistrationStatus, () => ({}));

async function listen(socket: string, { definition, methods }: typeof service): Promise<void> {
  rmSync(socket, { force: true });
  const server = new Server();
  server.addService(definition as ServiceDefinition, methods);
  await new Promise<void>((resolve, reject) => {
    server.bindAsync(`unix://${socket}`, ServerCredentials.createInsecure(), (error) =>
      error ? reject(error) : resolve(),
    );
  });
}

await listen(settings.endpoint, service);
await listen(settings.registrationSocket, registration);
process.stdout.write('ready\n');
