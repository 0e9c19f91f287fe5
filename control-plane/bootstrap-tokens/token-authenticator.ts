import { timingSafeEqual } from 'node:crypto';
import { parseBootstrapToken } from '../../src/auth/bootstrap-token.ts';
import { type TokenAuthenticator, TokenRefusedError } from '../../src/auth/token-authenticator.ts';
import type { Secret } from '../../src/kube/types.ts';
import type { Clock } from '../../src/runtime/clock.ts';
import type { ObjectReader } from '../apiserver/definition.ts';
import { isExpired, NAMESPACE, parseTokenSecret, secretNameOf } from './token-secret.ts';

const SECRETS = { group: '', plural: 'secrets' };

/** Bearer tokens by which new nodes introduce themselves: whoever has one may ask for a node's certificate, and nothing else. */
export function createBootstrapTokenAuthenticator(deps: { objects: ObjectReader; clock: Clock }): TokenAuthenticator {
  return {
    async authenticate(text) {
      const shown = parseBootstrapToken(text);
      if (!shown) return undefined;
      const secret = await deps.objects.get<Secret>(SECRETS, NAMESPACE, secretNameOf(shown.id));
      const known = secret && !secret.metadata.deletionTimestamp ? parseTokenSecret(secret) : undefined;
      if (!known || !timingSafeEqual(Buffer.from(known.token.secret), Buffer.from(shown.secret)))
        throw new TokenRefusedError(`bootstrap token ${shown.id} is not known here`);
      if (isExpired(known, deps.clock.nowMs())) throw new TokenRefusedError(`bootstrap token ${shown.id} has expired`);
      if (!known.authenticates) throw new TokenRefusedError(`bootstrap token ${shown.id} is not for authentication`);
      return {
        username: `system:bootstrap:${shown.id}`,
        groups: ['system:bootstrappers', ...known.extraGroups],
      };
    },
  };
}
