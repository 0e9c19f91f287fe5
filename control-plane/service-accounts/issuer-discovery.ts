import type { SigningKey } from '../../src/auth/signing-key.ts';
import type { Exchange } from '../apiserver/exchange.ts';

/** What others need to check this cluster's tokens by themselves: OpenID Connect discovery (sheet §12). */
export interface IssuerDiscovery {
  /** Answers /.well-known/openid-configuration and /openid/v1/jwks; true when the path was one of these. */
  handle(exchange: Exchange): Promise<boolean>;
}

const CONFIGURATION = '/.well-known/openid-configuration';
const KEYS = '/openid/v1/jwks';
const CACHED = { 'cache-control': 'public, max-age=3600' };

/** @param options.serverAddress `host:port` under which clients reach the API server. */
export function createIssuerDiscovery(
  options: { readonly issuer: string; readonly serverAddress: string },
  key: SigningKey,
): IssuerDiscovery {
  const configuration = JSON.stringify({
    issuer: options.issuer,
    jwks_uri: `https://${options.serverAddress}${KEYS}`,
    response_types_supported: ['id_token'],
    subject_types_supported: ['public'],
    id_token_signing_alg_values_supported: [key.algorithm],
  });
  const keys = JSON.stringify({ keys: [key.publicJwk] });
  return {
    async handle(exchange) {
      const path = exchange.path.replace(/\/$/, '');
      if (path === CONFIGURATION) await exchange.send(200, configuration, 'application/json', CACHED);
      else if (path === KEYS) await exchange.send(200, keys, 'application/jwk-set+json', CACHED);
      else return false;
      return true;
    },
  };
}
