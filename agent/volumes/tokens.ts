import type { KubeClient } from '../../src/kube/client.ts';
import { serviceAccounts } from '../../src/kube/resources.ts';
import type { Pod, ServiceAccountTokenProjection } from '../../src/kube/types.ts';
import type { Clock } from '../../src/runtime/clock.ts';
import type { Logger } from '../../src/runtime/log.ts';

const DEFAULT_EXPIRATION_SECONDS = 3600;
/** Renewed when four fifths of the lifetime are over, and after a day in any case. */
const REFRESH_SHARE = 0.8;
const MAX_AGE_MS = 24 * 3600_000;
/** So much earlier at most, so that pods that were started together don't all ask at once for ever. */
const MAX_JITTER_MS = 10_000;

export interface ServiceAccountTokens {
  /** A token bound to the pod, from the cache while it is fresh; an old one while it is valid and no new one can be had. */
  token(pod: Pod, projection: ServiceAccountTokenProjection): Promise<string>;
  forget(uid: string): void;
}

interface CachedToken {
  token: string;
  /** Of the monotonic clock, which nobody sets. */
  refreshMs: number;
  /** The same moment by the wall clock, which goes on while the machine sleeps. */
  refreshAtMs: number;
  expiresMs: number;
  expiresAtMs: number;
}

export interface TokenDependencies {
  client: Pick<KubeClient, 'create'>;
  clock: Clock;
  log: Logger;
  random?: () => number;
}

/** TokenRequests by the node's own identity, each bound to its pod. */
export function createServiceAccountTokens(dependencies: TokenDependencies): ServiceAccountTokens {
  const { client, clock, log, random = Math.random } = dependencies;
  const cache = new Map<string, CachedToken>();

  async function request(pod: Pod, projection: ServiceAccountTokenProjection): Promise<CachedToken> {
    const issuedMs = clock.monotonicMs();
    const issuedAtMs = clock.nowMs();
    const draft = {
      apiVersion: 'authentication.k8s.io/v1',
      kind: 'TokenRequest',
      metadata: {},
      spec: {
        audiences: projection.audience ? [projection.audience] : [],
        expirationSeconds: projection.expirationSeconds ?? DEFAULT_EXPIRATION_SECONDS,
        boundObjectRef: { apiVersion: 'v1', kind: 'Pod', name: pod.metadata.name, uid: pod.metadata.uid },
      },
    };
    const answer = (await client.create(serviceAccounts, draft as never, {
      namespace: pod.metadata.namespace ?? 'default',
      name: pod.spec.serviceAccountName || 'default',
      subresource: 'token',
    })) as unknown as {
      spec?: { expirationSeconds?: number };
      status: { token: string; expirationTimestamp: string };
    };
    const expiresAtMs = Date.parse(answer.status.expirationTimestamp);
    // What the API server granted counts; its clock and ours may be apart.
    const { expirationSeconds } = answer.spec ?? {};
    const lifeMs = expirationSeconds === undefined ? expiresAtMs - issuedAtMs : expirationSeconds * 1000;
    const freshMs = Math.min(MAX_AGE_MS, lifeMs * REFRESH_SHARE) - random() * MAX_JITTER_MS;
    return {
      token: answer.status.token,
      refreshMs: issuedMs + freshMs,
      refreshAtMs: issuedAtMs + freshMs,
      expiresMs: issuedMs + lifeMs,
      expiresAtMs,
    };
  }

  return {
    async token(pod, projection) {
      const key = `${pod.metadata.uid}/${projection.audience ?? ''}/${projection.expirationSeconds ?? ''}`;
      const cached = cache.get(key);
      const nowMs = clock.monotonicMs();
      if (cached && nowMs < cached.refreshMs && clock.nowMs() < cached.refreshAtMs) return cached.token;
      try {
        const fresh = await request(pod, projection);
        cache.set(key, fresh);
        return fresh.token;
      } catch (error) {
        if (!cached || nowMs >= cached.expiresMs) throw error;
        const { namespace, name } = pod.metadata;
        const expires = new Date(cached.expiresAtMs).toISOString();
        log.warn(
          { pod: `${namespace}/${name}`, expires, err: error },
          'service account token could not be renewed yet',
        );
        return cached.token;
      }
    },
    forget(uid) {
      for (const key of cache.keys()) if (key.startsWith(`${uid}/`)) cache.delete(key);
    },
  };
}
