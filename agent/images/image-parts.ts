import type { DockerEngine } from '../../src/docker/engine.ts';
import type { BackoffOptions } from '../../src/runtime/backoff.ts';
import type { Clock } from '../../src/runtime/clock.ts';
import type { Logger } from '../../src/runtime/log.ts';
import { Registry } from '../../src/runtime/metrics.ts';
import type { AgentMetrics, ConfigSources, EventSink } from '../pods/ports.ts';
import type { ServiceAccountTokens } from '../volumes/tokens.ts';
import { createImageAccess } from './access.ts';
import type { CredentialProviderConfig } from './credential-providers/config.ts';
import { type CredentialProviderDependencies, createCredentialProviders } from './credential-providers/providers.ts';
import { createPodCredentials } from './credentials.ts';
import { createImages, type Images } from './images.ts';
import { lookUpCredentials } from './keyring.ts';
import { createImageMetrics } from './metrics.ts';
import { repositoryOf, withDefaultTag } from './name.ts';
import { createNodeCredentials } from './node-credentials.ts';
import { createPodPulls } from './pod-pulls.ts';
import { createPullRecords } from './pull-records.ts';
import { createPuller, type PullerOptions } from './puller.ts';
import type { VerificationOptions } from './verification.ts';

/** How images are pulled, and whom they are given to. */
export interface ImageSettings extends PullerOptions {
  verification: VerificationOptions;
  /** `--image-credential-provider-config` and its plugins' folder. */
  credentialProviders?: CredentialProviderConfig & { binDir: string; environment: Record<string, string> };
  /** Of the agent's user: `.docker/config.json` is read there. */
  homeDir: string;
}

export interface ImagePartDependencies {
  docker: Pick<DockerEngine, 'inspectImage' | 'pullImage' | 'listImages'>;
  config?: ConfigSources;
  tokens?: ServiceAccountTokens;
  serviceAccount?: CredentialProviderDependencies['serviceAccount'];
  onUsed?(imageId: string): void;
  events: EventSink;
  metrics: Pick<AgentMetrics, 'runtimeOperation' | 'imagePulled'>;
  /** Where metrics about images are shown; nowhere when absent. */
  registry?: Registry;
  clock: Clock;
  log: Logger;
}

export interface ImageParts {
  images: Images;
  /** Pulls what the node itself needs (the pause image), with the node's own credentials. Throws PullError. */
  pullForNode(image: string, signal: AbortSignal): Promise<void>;
  /**
   * Compares what is written down of pulls with the images that there are: at the start, before the first pod, what an earlier agent left
   * half done; later what has been removed. Never throws but for the abort.
   */
  recover(signal: AbortSignal): Promise<void>;
  /** Whether an agent of this root directory has pulled it. */
  isPulledHere(imageId: string): Promise<boolean>;
  /** Now and then drops records of images that are gone. */
  run(signal: AbortSignal): Promise<void>;
}

/** Upstream prunes after image garbage collections, which are seldom; a list of images is not asked for more often than this. */
const PRUNE_MS = 3600_000;

/** Puts the parts of images together; nothing runs yet. */
export function buildImageParts(
  options: ImageSettings & { rootDir: string; backoff: BackoffOptions },
  deps: ImagePartDependencies,
): ImageParts {
  const records = createPullRecords(options.rootDir);
  const imageMetrics = createImageMetrics(deps.registry ?? new Registry(), records);
  const access = createImageAccess(options.verification, { ...deps, records, metrics: imageMetrics });
  const plugins = options.credentialProviders;
  if (plugins) imageMetrics.pluginsConfigured(plugins.hash);
  const providers = createCredentialProviders(plugins ?? { providers: [], binDir: '', environment: {} }, {
    ...deps,
    metrics: imageMetrics,
  });
  const node = createNodeCredentials(options, deps);
  const credentials = createPodCredentials({ ...deps, node, providers });
  const puller = createPuller(options, { ...deps, imageMetrics });
  const pulls = createPodPulls(options.backoff, { ...deps, access, puller, imageMetrics });
  /** Nothing is listed while nothing is recorded. */
  async function settle(signal: AbortSignal): Promise<void> {
    try {
      const [pulling, pulled] = await Promise.all([records.count('pulling'), records.count('pulled')]);
      if (pulling + pulled === 0) return;
      const listedAtMs = deps.clock.nowMs();
      const images = await deps.metrics.runtimeOperation('list_images', () => deps.docker.listImages(signal));
      await access.recover(images);
      await access.prune(images, listedAtMs);
    } catch (error) {
      signal.throwIfAborted();
      deps.log.warn({ err: error }, 'records of image pulls could not be compared with the images');
    }
  }

  return {
    images: createImages({ ...deps, access, credentials, pulls, imageMetrics }),
    async pullForNode(image, signal) {
      const found = lookUpCredentials(await node.read(), repositoryOf(image));
      const { detail } = await puller.pull({ image: withDefaultTag(image), credentials: found }, signal);
      await access.pullBegins(image);
      await access.pullSucceeded(image, detail.id, { nodePodsAccessible: true });
    },
    recover: settle,
    // A record that cannot be read says nothing.
    isPulledHere: (imageId) =>
      records.pulled(imageId).then(
        (record) => record !== undefined,
        () => false,
      ),
    async run(signal) {
      while (!signal.aborted) {
        await deps.clock.sleep(PRUNE_MS, signal).catch(() => {});
        if (!signal.aborted) await settle(signal).catch(() => {});
      }
    },
  };
}
