import { createHash } from 'node:crypto';
import type { SigningKey } from '../../src/auth/signing-key.ts';
import { TokenRefusedError } from '../../src/auth/token-authenticator.ts';
import type { UserInfo } from '../../src/auth/user.ts';
import type { KubeObject } from '../../src/kube/types.ts';
import type { Clock } from '../../src/runtime/clock.ts';
import { Counter, type Registry } from '../../src/runtime/metrics.ts';
import type { ObjectReader, ResourceName } from '../apiserver/definition.ts';
import { type ObjectClaim, parseClaims, type ServiceAccountClaims, serviceAccountGroups } from './claims.ts';
import type { TokenIssuerOptions } from './token-request.ts';

export interface TokenAuthenticatorDependencies {
  readonly key: SigningKey;
  readonly objects: ObjectReader;
  readonly clock: Clock;
  readonly metrics: Registry;
}

export interface VerifiedToken {
  readonly user: UserInfo;
  /** Those of the asked ones that the token is meant for. */
  readonly audiences: readonly string[];
}

export interface ServiceAccountAuthenticator {
  /** A token for the API server. Undefined for one of another issuer; throws `TokenRefusedError` for a bad one of ours. */
  authenticate(token: string): Promise<UserInfo | undefined>;
  /** The same for any audiences: one of them must be the token's. */
  verify(token: string, audiences: readonly string[]): Promise<VerifiedToken | undefined>;
}

/** Clocks of two hosts may differ by so much; what was deleted less than this ago still counts as there. */
const LEEWAY_SECONDS = 60;
/** Signatures that were checked; a token is asked about again and again. */
const REMEMBERED_TOKENS = 4096;

const SERVICE_ACCOUNTS: ResourceName = { group: '', plural: 'serviceaccounts' };
const PODS: ResourceName = { group: '', plural: 'pods' };
const SECRETS: ResourceName = { group: '', plural: 'secrets' };
const NODES: ResourceName = { group: '', plural: 'nodes' };

/**
 * Service account tokens (sheet §12): signature, issuer, audience and times, then whether the account and what the token
 * is bound to still stand. Only the signature is remembered; everything else is looked up for each request.
 */
export function createServiceAccountAuthenticator(
  options: TokenIssuerOptions,
  { key, objects, clock, metrics }: TokenAuthenticatorDependencies,
): ServiceAccountAuthenticator {
  const signed = new Map<string, ServiceAccountClaims>();
  const fresh = new Counter({
    name: 'serviceaccount_valid_tokens_total',
    help: 'Cumulative valid projected service account tokens used',
    registers: [metrics],
  });
  const stale = new Counter({
    name: 'serviceaccount_stale_tokens_total',
    help: 'Cumulative stale projected service account tokens used',
    registers: [metrics],
  });

  async function signedClaims(token: string): Promise<ServiceAccountClaims> {
    const digest = createHash('sha256').update(token).digest('base64');
    const known = signed.get(digest);
    if (known) return known;
    const claims = await readClaims(token);
    // The oldest goes; who still uses it is checked once more.
    if (signed.size >= REMEMBERED_TOKENS) signed.delete(signed.keys().next().value!);
    signed.set(digest, claims);
    return claims;
  }

  async function readClaims(token: string): Promise<ServiceAccountClaims> {
    let payload: Uint8Array;
    try {
      payload = await key.verify(token);
    } catch (error) {
      throw new TokenRefusedError('the signature of the service account token could not be verified', { cause: error });
    }
    try {
      return parseClaims(payload);
    } catch (error) {
      throw new TokenRefusedError((error as Error).message, { cause: error });
    }
  }

  async function assertStands(
    resource: ResourceName,
    namespace: string,
    { name, uid }: ObjectClaim,
    words: { object: string; claim: string; gone: string },
  ): Promise<KubeObject> {
    const object = await objects.get(resource, namespace, name);
    if (!object) throw new TokenRefusedError(`${resource.plural} ${JSON.stringify(name)} not found`);
    if (object.metadata.uid !== uid)
      throw new TokenRefusedError(
        `${words.object} UID (${object.metadata.uid}) does not match ${words.claim} (${uid})`,
      );
    const { deletionTimestamp } = object.metadata;
    if (deletionTimestamp && Date.parse(deletionTimestamp) < clock.nowMs() - LEEWAY_SECONDS * 1000)
      throw new TokenRefusedError(words.gone);
    return object;
  }

  async function assertBound(claims: ServiceAccountClaims): Promise<void> {
    const { namespace, serviceaccount, pod, secret, node } = claims['kubernetes.io'];
    await assertStands(SERVICE_ACCOUNTS, namespace, serviceaccount, {
      object: 'service account',
      claim: 'claim',
      gone: 'service account has been deleted',
    });
    const bound = (object: string, resource: ResourceName, of: string, claim: ObjectClaim) =>
      assertStands(resource, of, claim, {
        object,
        claim: `service account ${object} ref claim`,
        gone: 'service account token has been invalidated',
      });
    if (secret) await bound('secret', SECRETS, namespace, secret);
    if (pod) await bound('pod', PODS, namespace, pod);
    // The node of a pod's token only says where the pod ran.
    else if (node) await bound('node', NODES, '', node);
  }

  async function verify(token: string, audiences: readonly string[]): Promise<VerifiedToken | undefined> {
    if (issuerOf(token) !== options.issuer) return undefined;
    const claims = await signedClaims(token);
    const meant = audiences.filter((audience) => claims.aud.includes(audience));
    if (meant.length === 0)
      throw new TokenRefusedError(
        `token audiences ${quoted(claims.aud)} is invalid for the target audiences ${quoted(audiences)}`,
      );
    const nowSeconds = clock.nowMs() / 1000;
    assertTimes(claims, nowSeconds);
    await assertBound(claims);
    const { warnafter } = claims['kubernetes.io'];
    if (warnafter !== undefined) (nowSeconds > warnafter ? stale : fresh).inc();
    return { user: userOf(claims), audiences: meant };
  }

  return {
    verify,
    async authenticate(token) {
      return (await verify(token, options.apiAudiences))?.user;
    },
  };
}

/** Before any check of the signature: whose token it says it is. Undefined when it is no JWT. */
function issuerOf(token: string): unknown {
  const [, payload, signature] = token.split('.');
  if (!payload || !signature) return undefined;
  try {
    return JSON.parse(Buffer.from(payload, 'base64url').toString()).iss;
  } catch {
    return undefined;
  }
}

function assertTimes({ exp, nbf, iat }: ServiceAccountClaims, nowSeconds: number): void {
  if (nowSeconds > exp + LEEWAY_SECONDS) throw new TokenRefusedError('service account token has expired');
  if (nowSeconds < nbf - LEEWAY_SECONDS) throw new TokenRefusedError('service account token is not valid yet');
  if (nowSeconds < iat - LEEWAY_SECONDS) throw new TokenRefusedError('service account token is issued in the future');
}

function userOf({ sub, jti, 'kubernetes.io': own }: ServiceAccountClaims): UserInfo {
  const extra: Record<string, string[]> = {};
  const add = (key: string, value: string | undefined) => {
    if (value) extra[`authentication.kubernetes.io/${key}`] = [value];
  };
  add('credential-id', jti && `JTI=${jti}`);
  add('node-name', own.node?.name);
  add('node-uid', own.node?.uid);
  add('pod-name', own.pod?.name);
  add('pod-uid', own.pod?.uid);
  return {
    username: sub,
    ...(own.serviceaccount.uid && { uid: own.serviceaccount.uid }),
    groups: serviceAccountGroups(own.namespace),
    extra,
  };
}

/** As Go prints a list of strings. */
const quoted = (values: readonly string[]) => `[${values.map((value) => JSON.stringify(value)).join(' ')}]`;
