import type { KubeletConfiguration } from '../../agent/config/kubelet-configuration.ts';
import { createAccess, type RefuseAccess } from '../../agent/server/access.ts';
import { type Authorizer, certifiedAccess, reviewedAccess, unlimitedAccess } from '../../agent/server/authorization.ts';
import { createReviews } from '../../agent/server/reviews.ts';
import type { KubeClient } from '../../src/kube/client.ts';
import type { ProgramContext } from './context.ts';

/** Who may use the node's HTTPS API, by the configuration: the API server is asked, where there is one. */
export function createNodeAccess(
  { config, nodeName, client }: { config: KubeletConfiguration; nodeName: string; client?: KubeClient },
  { clock, log }: ProgramContext,
): RefuseAccess {
  const { authentication, authorization } = config;
  const times = {
    tokenMs: authentication.webhook.cacheTTLMs,
    allowedMs: authorization.webhook.cacheAuthorizedTTLMs,
    deniedMs: authorization.webhook.cacheUnauthorizedTTLMs,
  };
  const reviews = client && createReviews(times, { client, clock });
  let authorize: Authorizer = reviews ? reviewedAccess(nodeName, reviews) : certifiedAccess;
  if (authorization.mode === 'AlwaysAllow') {
    log.warn('authorization.mode is AlwaysAllow: whoever is let in may run commands in every container of this node');
    authorize = unlimitedAccess;
  }
  if (authentication.anonymous.enabled) log.warn('authentication.anonymous is enabled: requests need no credentials');
  return createAccess(
    {
      ...(reviews && authentication.webhook.enabled && { authenticateToken: reviews.authenticate }),
      anonymous: authentication.anonymous.enabled,
      authorize,
    },
    { log },
  );
}
