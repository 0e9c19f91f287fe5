import { createHash } from 'node:crypto';
import type { UserInfo } from '../../src/auth/user.ts';
import type { KubeClient } from '../../src/kube/client.ts';
import { subjectAccessReviews, tokenReviews } from '../../src/kube/resources.ts';
import type { Clock } from '../../src/runtime/clock.ts';
import { createExpiringCache } from '../../src/runtime/expiring-cache.ts';

/** One thing that a user may or may not do with this node: get nodes/metrics. */
export interface NodeAttributes {
  verb: string;
  node: string;
  subresource: string;
}

/** What the API server says of who asks this node for something. Both throw when it cannot be asked. */
export interface Reviews {
  /** Who the bearer token stands for; undefined for one that is not good. */
  authenticate(token: string): Promise<UserInfo | undefined>;
  mayAccess(user: UserInfo, attributes: NodeAttributes): Promise<boolean>;
}

export interface ReviewTimes {
  /** authentication.webhook.cacheTTL */
  tokenMs: number;
  /** authorization.webhook.cacheAuthorizedTTL and cacheUnauthorizedTTL */
  allowedMs: number;
  deniedMs: number;
}

const PATIENCE_MS = 10_000;
const MAX_ENTRIES = 4096;

/**
 * TokenReviews and SubjectAccessReviews at the API server, each answer kept for a while. Many who ask the same at once cost one review:
 * a scraper's first round, or a stranger's hundred connections.
 */
export function createReviews(times: ReviewTimes, { client, clock }: { client: KubeClient; clock: Clock }): Reviews {
  const remember = <V>(ttlOf: (value: V) => number) => {
    const cache = createExpiringCache<{ value: V }>({ maxEntries: MAX_ENTRIES, clock });
    const underWay = new Map<string, Promise<V>>();
    return (key: string, ask: () => Promise<V>): Promise<V> => {
      const known = cache.get(key);
      if (known) return Promise.resolve(known.value);
      const running = underWay.get(key);
      if (running) return running;
      const answer = ask()
        .then((value) => {
          cache.set(key, { value }, ttlOf(value));
          return value;
        })
        .finally(() => underWay.delete(key));
      underWay.set(key, answer);
      return answer;
    };
  };
  const users = remember<UserInfo | undefined>(() => times.tokenMs);
  const decisions = remember<boolean>((allowed) => (allowed ? times.allowedMs : times.deniedMs));

  return {
    // Kept by its sum: neither a heap dump nor a log of keys tells a token.
    authenticate: (token) =>
      users(createHash('sha256').update(token).digest('base64'), async () => {
        const signal = AbortSignal.timeout(PATIENCE_MS);
        const { status } = await client.create(tokenReviews, { metadata: {}, spec: { token } }, { signal });
        const { username, uid, groups = [], extra } = status?.user ?? {};
        if (!status?.authenticated || !username) return undefined;
        return { username, groups, ...(uid && { uid }), ...(extra && { extra }) };
      }),
    mayAccess: (user, attributes) =>
      decisions(JSON.stringify([user, attributes]), async () => {
        const { verb, node, subresource } = attributes;
        const spec = {
          user: user.username,
          groups: [...user.groups],
          ...(user.uid && { uid: user.uid }),
          ...(user.extra && { extra: Object.fromEntries(Object.entries(user.extra).map(([k, v]) => [k, [...v]])) }),
          resourceAttributes: { group: '', version: 'v1', resource: 'nodes', verb, name: node, subresource },
        };
        const signal = AbortSignal.timeout(PATIENCE_MS);
        const { status } = await client.create(subjectAccessReviews, { metadata: {}, spec }, { signal });
        return (status?.allowed ?? false) && !status?.denied;
      }),
  };
}
