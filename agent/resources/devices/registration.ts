import { lstat, mkdir, readdir, rm } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { GrpcError } from '../../../src/grpc/client.ts';
import { DEVICE_PLUGIN_VERSION, deviceRegistration, type RegisterRequest } from '../../../src/grpc/device-plugin.ts';
import { createGrpcServer, serve } from '../../../src/grpc/server.ts';
import type { Logger } from '../../../src/runtime/log.ts';
import type { PluginHandler } from '../../plugins/plugin-watcher.ts';
import type { DeviceMetrics } from './metrics.ts';
import type { PluginSessions } from './plugin-sessions.ts';
import { isExtendedResourceName } from './resource-name.ts';

/** Where plugins register, in the device plugin directory. */
export const REGISTRATION_SOCKET = 'kubelet.sock';

export interface RegistrationDependencies {
  sessions: PluginSessions;
  metrics: DeviceMetrics;
  log: Logger;
}

/** Why a plugin is not taken; upstream's words where it has any. */
export function checkRegistration({ version, resourceName, endpoint }: Omit<RegisterRequest, 'options'>): void {
  if (version !== DEVICE_PLUGIN_VERSION)
    throw new Error(
      `requested API version "${version}" is not supported by kubelet. Supported version is ["${DEVICE_PLUGIN_VERSION}"]`,
    );
  if (!isExtendedResourceName(resourceName)) throw new Error(`the ResourceName "${resourceName}" is invalid`);
  if (['', '.', '..', REGISTRATION_SOCKET].includes(endpoint) || basename(endpoint) !== endpoint)
    throw new Error(
      `the Endpoint "${endpoint}" is invalid: it must be the name of the plugin's own socket, in the directory where it registers`,
    );
}

/** The socket at which device plugins register. A plugin sees by a new socket that the agent was restarted, and registers again. */
export function createDeviceRegistration(directory: string, { sessions, metrics, log }: RegistrationDependencies) {
  const server = createGrpcServer({ socketPath: join(directory, REGISTRATION_SOCKET) }, [
    serve(deviceRegistration.register, async (request) => {
      const { resourceName: resource, endpoint } = request;
      metrics.registration(resource);
      try {
        checkRegistration(request);
        await sessions.open(resource, join(directory, endpoint));
      } catch (error) {
        log.warn({ resource, endpoint, err: error }, 'device plugin not registered');
        throw new GrpcError('Unknown', (error as Error).message, error);
      }
      return {};
    }),
  ]);

  return {
    /** Removes the sockets of an earlier life, so that every plugin makes its own anew, and listens. */
    async start(): Promise<void> {
      await mkdir(directory, { recursive: true, mode: 0o750 });
      for (const name of await readdir(directory)) {
        const path = join(directory, name);
        const stats = await lstat(path).catch(() => undefined);
        if (stats?.isSocket()) await rm(path, { force: true });
      }
      await server.listen();
    },
    stop: server.close,
  };
}

/** Device plugins that make themselves known in `plugins_registry` instead. */
export function createDevicePluginHandler({ sessions, metrics }: RegistrationDependencies): PluginHandler {
  const endpoints = new Map<string, string>();
  return {
    type: 'DevicePlugin',
    async register({ name, endpoint, supportedVersions }) {
      metrics.registration(name);
      if (!supportedVersions.includes(DEVICE_PLUGIN_VERSION))
        throw new Error(
          `manager version, ${DEVICE_PLUGIN_VERSION}, is not among plugin supported versions [${supportedVersions.join(' ')}]`,
        );
      if (!isExtendedResourceName(name))
        throw new Error(`invalid name of device plugin socket: the ResourceName "${name}" is invalid`);
      await sessions.open(name, endpoint);
      endpoints.set(name, endpoint);
    },
    async deregister(name) {
      const endpoint = endpoints.get(name);
      endpoints.delete(name);
      // Another plugin may have taken its place meanwhile.
      await sessions.close(name, endpoint);
    },
  };
}
