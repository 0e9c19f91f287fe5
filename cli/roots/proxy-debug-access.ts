import { createHash } from 'node:crypto';
import type { DebugAccess, DebugDecision } from '../../proxy/debug/routes.ts';
import { type ClientConfig, createKubeClient } from '../../src/kube/client.ts';
import { ApiError } from '../../src/kube/errors.ts';
import type { Resource } from '../../src/kube/resources.ts';
import type { SelfSubjectAccessReview } from '../../src/kube/schema/generated/types/authorization-v1.ts';
import type { Clock } from '../../src/runtime/clock.ts';

const selfSubjectAccessReviews: Resource<SelfSubjectAccessReview> = {
  group: 'authorization.k8s.io',
  version: 'v1',
  plural: 'selfsubjectaccessreviews',
  kind: 'SelfSubjectAccessReview',
  namespaced: false,
};

const REMEMBERED_MS = 10_000;
const MOST_REMEMBERED = 256;
const TIMEOUT_MS = 10_000;

/**
 * Asks the API server, as the holder of the token, whether they may `get` a path (non-resource URL). The proxy's own identity needs no
 * right for that: everybody may ask about themselves, and what the server answers a wrong token is 401.
 */
export function createDebugAccess(
  server: Pick<ClientConfig, 'server' | 'caPem' | 'tlsServerName'>,
  clock: Clock,
): DebugAccess {
  const decisions = new Map<string, { decision: DebugDecision; untilMs: number }>();
  return async (token, path) => {
    const key = createHash('sha256').update(`${token} ${path}`).digest('base64');
    const known = decisions.get(key);
    if (known && known.untilMs > clock.monotonicMs()) return known.decision;
    const decision = await ask(server, token, path);
    if (decision.kind === 'failed') return decision;
    decisions.delete(key);
    decisions.set(key, { decision, untilMs: clock.monotonicMs() + REMEMBERED_MS });
    if (decisions.size > MOST_REMEMBERED) decisions.delete(decisions.keys().next().value!);
    return decision;
  };
}

async function ask(
  { server, caPem, tlsServerName }: Pick<ClientConfig, 'server' | 'caPem' | 'tlsServerName'>,
  token: string,
  path: string,
): Promise<DebugDecision> {
  const client = createKubeClient({ server, caPem, tlsServerName, token, userAgent: 'kube-proxy' });
  try {
    const { status } = await client.create(
      selfSubjectAccessReviews,
      { metadata: {}, spec: { nonResourceAttributes: { path, verb: 'get' } } },
      { signal: AbortSignal.timeout(TIMEOUT_MS) },
    );
    if (status?.allowed) return { kind: 'allowed' };
    const reason = status?.reason ? `: ${status.reason}` : '';
    return {
      kind: 'denied',
      message: `get ${path} is not allowed${reason}; nonResourceURLs of a ClusterRole allow it`,
    };
  } catch (error) {
    if (error instanceof ApiError && error.code === 401)
      return { kind: 'unknown', message: 'the API server does not know this token' };
    return { kind: 'failed', message: `the API server cannot be asked: ${(error as Error).message}` };
  } finally {
    await client.close();
  }
}
