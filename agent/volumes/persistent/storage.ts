import { join } from 'node:path';
import type { KubeClient } from '../../../src/kube/client.ts';
import { isNotFound } from '../../../src/kube/errors.ts';
import type { InformerSet } from '../../../src/kube/informer.ts';
import {
  csiDrivers as csiDriverResource,
  persistentVolumeClaims,
  persistentVolumes,
  type Resource,
  secrets,
  volumeAttachments,
} from '../../../src/kube/resources.ts';
import type { CSIDriver, KubeObject, Pod } from '../../../src/kube/types.ts';
import type { Clock } from '../../../src/runtime/clock.ts';
import type { Logger } from '../../../src/runtime/log.ts';
import type { Registry } from '../../../src/runtime/metrics.ts';
import { createPluginWatcher, type PluginHandler } from '../../plugins/plugin-watcher.ts';
import { createCsiNodeKeeper } from '../csi/csi-node.ts';
import { type CsiApi, createCsiVolumes } from '../csi/csi-volumes.ts';
import { createCsiDrivers } from '../csi/drivers.ts';
import type { VolumePlugin } from '../plugin.ts';
import type { ServiceAccountTokens } from '../tokens.ts';
import { type ClaimPluginDependencies, createClaimPlugins } from './claim-plugins.ts';
import { type ClaimFigures, createClaimFigures, registerVolumeStats } from './volume-stats.ts';

export interface StorageOptions {
  nodeName: string;
  /** /var/lib/berth */
  rootDir: string;
}

export interface StorageDependencies extends Pick<ClaimPluginDependencies, 'nodeLabels'> {
  /** With the node's identity. */
  client: KubeClient;
  informers: InformerSet;
  tokens: ServiceAccountTokens;
  /** Who takes in plugins of other types than CSI from the same registry directory. */
  pluginHandlers?: readonly PluginHandler[];
  /** What the agent's /metrics shows. */
  registry: Registry;
  clock: Clock;
  log: Logger;
}

export interface Storage {
  readonly plugins: readonly VolumePlugin[];
  /** How full the volumes behind claims are. */
  readonly claimFigures: ClaimFigures;
  /** For node.status.volumesInUse. */
  volumesInUse(): string[];
  /** Takes in CSI drivers until aborted. */
  run(signal: AbortSignal): Promise<void>;
}

/** How long a first pod waits for what is known of drivers. */
const FIRST_LIST_MS = 10_000;

/** Volumes that outlive pods: claims and what is behind them, CSI drivers of this node, NFS. */
export function createStorage({ nodeName, rootDir }: StorageOptions, dependencies: StorageDependencies): Storage {
  const { client, clock, log } = dependencies;
  const driverObjects = dependencies.informers.informer(csiDriverResource);
  const csiNode = createCsiNodeKeeper(nodeName, { client, clock, log });
  const drivers = createCsiDrivers({ record: csiNode.record });
  const find = async <T extends KubeObject>(resource: Resource<T>, name: string, namespace?: string) => {
    try {
      return await client.get(resource, { name, ...(namespace !== undefined && { namespace }) });
    } catch (error) {
      if (isNotFound(error)) return undefined;
      throw error;
    }
  };
  const api: CsiApi = {
    async driver(name) {
      await driverObjects.synced(AbortSignal.timeout(FIRST_LIST_MS));
      // Made a moment ago, perhaps, and with consequences: whether volumes are attached, and to whom they are given.
      return driverObjects.get(name) ?? (await find(csiDriverResource, name));
    },
    attachment: (name) => find(volumeAttachments, name),
    async secret({ namespace, name }) {
      const secret = await client.get(secrets, { namespace, name });
      return Object.fromEntries(
        Object.entries(secret.data ?? {}).map(([key, value]) => [key, Buffer.from(value, 'base64').toString('utf8')]),
      );
    },
    tokens: (pod, requests) => collectTokens(pod, requests, dependencies.tokens),
  };
  const csi = createCsiVolumes(
    {
      nodeName,
      podsDirectory: join(rootDir, 'pods'),
      stagingDirectory: join(rootDir, 'plugins', 'kubernetes.io', 'csi'),
    },
    { drivers, api, clock, log },
  );
  drivers.onRegistered((driver) => {
    csi
      .collect(driver)
      .catch((error) =>
        log.warn({ driver: driver.name, err: error }, 'staged volumes of no pod could not be unstaged'),
      );
  });
  const watcher = createPluginWatcher(
    { directory: join(rootDir, 'plugins_registry') },
    { handlers: [drivers, ...(dependencies.pluginHandlers ?? [])], clock, log },
  );
  const claimPlugins = createClaimPlugins({
    api: {
      claim: (namespace, name) => find(persistentVolumeClaims, name, namespace),
      volume: (name) => find(persistentVolumes, name),
    },
    csi,
    nodeName,
    nodeLabels: dependencies.nodeLabels,
  });
  const claimFigures = createClaimFigures({ claims: claimPlugins.claims, clock });
  registerVolumeStats(dependencies.registry, claimFigures);
  return {
    plugins: claimPlugins.plugins,
    claimFigures,
    volumesInUse: csi.volumesInUse,
    async run(signal) {
      await csi
        .restore()
        .catch((error) => log.warn({ err: error }, 'CSI volumes of an earlier life could not be read'));
      await Promise.all([watcher.run(signal), csiNode.run(signal)]);
    },
  };
}

/** `{"<audience>": {"token": …, "expirationTimestamp": …}}` */
async function collectTokens(
  pod: Pod,
  requests: NonNullable<CSIDriver['spec']['tokenRequests']>,
  tokens: ServiceAccountTokens,
): Promise<string> {
  const entries = requests.map(async ({ audience, expirationSeconds }) => {
    const token = await tokens.token(pod, {
      audience,
      path: '',
      ...(expirationSeconds !== undefined && { expirationSeconds }),
    });
    return [audience, { token, expirationTimestamp: expiryOf(token) }] as const;
  });
  return JSON.stringify(Object.fromEntries(await Promise.all(entries)));
}

/** The `exp` of a token that the API server has just given: nothing here trusts it. */
function expiryOf(token: string): string {
  const { exp } = JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString('utf8')) as { exp: number };
  return new Date(exp * 1000).toISOString().replace(/\.\d+Z$/, 'Z');
}
