import { createHash } from 'node:crypto';
import type { Pod, ServiceAccount } from '../../../src/kube/types.ts';
import type { Clock } from '../../../src/runtime/clock.ts';
import type { Logger } from '../../../src/runtime/log.ts';
import type { ServiceAccountTokens } from '../../volumes/tokens.ts';
import type { ConfigEntries, CredentialSource } from '../keyring.ts';
import type { ImageMetrics } from '../metrics.ts';
import { matchesLocation } from '../registry-match.ts';
import type { CredentialProvider } from './config.ts';
import { askPlugin, type PluginRequest, type PluginResponse } from './plugin.ts';

export interface CredentialProviderOptions {
  providers: readonly CredentialProvider[];
  /** `--image-credential-provider-bin-dir` */
  binDir: string;
  /** The agent's own, which plugins inherit. */
  environment: Record<string, string>;
}

export interface CredentialProviderDependencies {
  metrics: Pick<ImageMetrics, 'pluginRan'>;
  /** For plugins with tokenAttributes; absent without an API server. */
  tokens?: ServiceAccountTokens;
  serviceAccount?(namespace: string, name: string): Promise<ServiceAccount | undefined>;
  clock: Clock;
  log: Logger;
}

export interface CredentialProviders {
  /** What the plugins say of a repository; a plugin that fails is logged and says nothing, as upstream has it. */
  ask(pod: Pod, repository: string): Promise<ConfigEntries[]>;
}

interface Cached {
  response: PluginResponse;
  expiresMs: number;
}

/** Of whom the plugin is asked; undefined: it is not to be asked for this pod. */
interface Asker {
  request: Omit<PluginRequest, 'image'>;
  source: CredentialSource;
  /** What, beside the image, answers are kept for. */
  cacheKey: string;
}

export function createCredentialProviders(
  { providers, binDir, environment }: CredentialProviderOptions,
  deps: CredentialProviderDependencies,
): CredentialProviders {
  const { clock, log } = deps;
  const caches = new Map(providers.map(({ name }) => [name, new Map<string, Cached>()]));
  const running = new Map<string, Promise<PluginResponse>>();

  async function ask(provider: CredentialProvider, pod: Pod, repository: string): Promise<ConfigEntries | undefined> {
    if (!provider.matchImages.some((pattern) => matchesLocation(pattern, repository))) return undefined;
    const asker = await askerFor(provider, pod);
    if (!asker) return undefined;
    const response = cached(provider, repository, asker) ?? (await askOnce(provider, repository, asker));
    const entries = Object.entries(response.auth).map(([location, { username, password }]) => ({
      location,
      username,
      password,
      email: '',
      identityToken: '',
      registryToken: '',
    }));
    return { source: asker.source, entries };
  }

  async function askerFor({ tokenAttributes }: CredentialProvider, pod: Pod): Promise<Asker | undefined> {
    if (!tokenAttributes) return { request: {}, source: undefined, cacheKey: '' };
    const { serviceAccountName: name } = pod.spec;
    const { namespace = 'default' } = pod.metadata;
    if (!name)
      return tokenAttributes.requireServiceAccount ? undefined : { request: {}, source: undefined, cacheKey: '' };
    const account = await deps.serviceAccount?.(namespace, name);
    if (!account || !deps.tokens) throw new Error(`service account ${namespace}/${name} not found`);
    const annotations: Record<string, string> = {};
    for (const key of tokenAttributes.requiredServiceAccountAnnotationKeys) {
      const value = account.metadata.annotations?.[key];
      // How service accounts opt in.
      if (value === undefined) return undefined;
      annotations[key] = value;
    }
    for (const key of tokenAttributes.optionalServiceAccountAnnotationKeys) {
      const value = account.metadata.annotations?.[key];
      if (value !== undefined) annotations[key] = value;
    }
    const token = await deps.tokens.token(pod, {
      path: 'token',
      audience: tokenAttributes.serviceAccountTokenAudience,
    });
    const { uid } = account.metadata;
    const perToken = tokenAttributes.cacheType === 'Token' ? createHash('sha256').update(token).digest('hex') : '';
    const sorted = Object.entries(annotations).sort(([a], [b]) => (a < b ? -1 : 1));
    return {
      request: {
        serviceAccountToken: token,
        ...(sorted.length > 0 && { serviceAccountAnnotations: Object.fromEntries(sorted) }),
      },
      source: { serviceAccount: { uid, namespace, name } },
      cacheKey: JSON.stringify([namespace, name, uid, sorted, perToken]),
    };
  }

  const keyOf = (kind: PluginResponse['cacheKeyType'], repository: string, { cacheKey }: Asker) => {
    const about = kind === 'Image' ? repository : kind === 'Registry' ? repository.split('/', 1)[0] : '';
    return JSON.stringify([kind, about, cacheKey]);
  };

  function cached(provider: CredentialProvider, repository: string, asker: Asker): PluginResponse | undefined {
    const cache = caches.get(provider.name)!;
    const now = clock.monotonicMs();
    for (const [key, { expiresMs }] of cache) if (expiresMs <= now) cache.delete(key);
    for (const kind of ['Image', 'Registry', 'Global'] as const) {
      const found = cache.get(keyOf(kind, repository, asker));
      if (found) return found.response;
    }
    return undefined;
  }

  /** Who asks the same meanwhile waits for the same answer. */
  function askOnce(provider: CredentialProvider, repository: string, asker: Asker): Promise<PluginResponse> {
    const token = asker.request.serviceAccountToken ?? '';
    const key = JSON.stringify([provider.name, repository, asker.cacheKey, token]);
    const found = running.get(key);
    if (found) return found;
    const answer = execute(provider, repository, asker).finally(() => running.delete(key));
    running.set(key, answer);
    return answer;
  }

  async function execute(provider: CredentialProvider, repository: string, asker: Asker): Promise<PluginResponse> {
    const startedMs = clock.monotonicMs();
    let succeeded = false;
    try {
      const request = { image: repository, ...asker.request };
      const response = await askPlugin(provider, request, { folder: binDir, environment });
      succeeded = true;
      const keepMs = response.cacheDurationMs ?? provider.defaultCacheDurationMs;
      if (keepMs > 0)
        caches
          .get(provider.name)!
          .set(keyOf(response.cacheKeyType, repository, asker), { response, expiresMs: clock.monotonicMs() + keepMs });
      return response;
    } finally {
      deps.metrics.pluginRan(provider.name, (clock.monotonicMs() - startedMs) / 1000, succeeded);
    }
  }

  return {
    async ask(pod, repository) {
      const answers = await Promise.all(
        providers.map(async (provider) => {
          try {
            return await ask(provider, pod, repository);
          } catch (error) {
            // Not the error itself: what the plugin wrote to stdout is in it.
            const reason = error instanceof Error ? error.message : String(error);
            log.warn({ reason, plugin: provider.name, image: repository }, 'a credential provider failed');
            return undefined;
          }
        }),
      );
      return answers.filter((answer) => answer !== undefined);
    },
  };
}
