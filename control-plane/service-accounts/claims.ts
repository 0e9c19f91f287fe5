import type { KubeObject } from '../../src/kube/types.ts';

/** What a service account token says (upstream's claims; times are seconds since 1970). */
export interface ServiceAccountClaims {
  readonly iss: string;
  /** `system:serviceaccount:NAMESPACE:NAME`. */
  readonly sub: string;
  readonly aud: readonly string[];
  readonly exp: number;
  readonly iat: number;
  readonly nbf: number;
  readonly jti: string;
  readonly 'kubernetes.io': KubernetesClaims;
}

export interface KubernetesClaims {
  readonly namespace: string;
  readonly serviceaccount: ObjectClaim;
  readonly pod?: ObjectClaim;
  readonly secret?: ObjectClaim;
  /** Of a token that is bound to a pod: where that pod ran. Else: what the token is bound to. */
  readonly node?: ObjectClaim;
  /** The pod should have fetched a new token by then; the token itself still works. */
  readonly warnafter?: number;
}

export interface ObjectClaim {
  readonly name: string;
  /** Absent only for a node that a pod names and that does not exist. */
  readonly uid?: string;
}

const USER_PREFIX = 'system:serviceaccount:';

export const serviceAccountUser = (namespace: string, name: string) => `${USER_PREFIX}${namespace}:${name}`;

/** Groups of every service account of the namespace. */
export const serviceAccountGroups = (namespace: string) => [
  'system:serviceaccounts',
  `system:serviceaccounts:${namespace}`,
];

/** What a token may be bound to: it is good as long as this object stands. */
export interface TokenBinding {
  readonly pod?: KubeObject;
  readonly secret?: KubeObject;
  readonly node?: ObjectClaim;
}

export interface ClaimsRequest extends TokenBinding {
  readonly issuer: string;
  readonly serviceAccount: KubeObject;
  readonly audiences: readonly string[];
  readonly nowSeconds: number;
  readonly expirationSeconds: number;
  /** Counted from now. */
  readonly warnAfterSeconds?: number;
  readonly tokenId: string;
}

/** Pure. */
export function buildClaims(request: ClaimsRequest): ServiceAccountClaims {
  const { serviceAccount, pod, secret, node, nowSeconds, warnAfterSeconds } = request;
  const { namespace = '', name } = serviceAccount.metadata;
  return {
    aud: request.audiences,
    exp: nowSeconds + request.expirationSeconds,
    iat: nowSeconds,
    iss: request.issuer,
    jti: request.tokenId,
    'kubernetes.io': {
      namespace,
      ...(node && { node }),
      ...(pod && { pod: objectClaim(pod) }),
      ...(secret && { secret: objectClaim(secret) }),
      serviceaccount: objectClaim(serviceAccount),
      ...(warnAfterSeconds !== undefined && { warnafter: nowSeconds + warnAfterSeconds }),
    },
    nbf: nowSeconds,
    sub: serviceAccountUser(namespace, name),
  };
}

export const objectClaim = ({ metadata }: KubeObject): ObjectClaim => ({ name: metadata.name, uid: metadata.uid });

/** Throws an Error when the payload of a token that we signed is not ours in form: the key was used elsewhere too. */
export function parseClaims(payload: Uint8Array): ServiceAccountClaims {
  const claims = JSON.parse(Buffer.from(payload).toString()) as ServiceAccountClaims;
  const own = claims?.['kubernetes.io'];
  const { namespace = '', serviceaccount } = own ?? {};
  const isComplete =
    namespace &&
    serviceaccount?.name &&
    serviceaccount.uid &&
    Array.isArray(claims.aud) &&
    [claims.exp, claims.iat, claims.nbf].every(Number.isFinite);
  if (!isComplete) throw new Error('the token lacks claims that every service account token has');
  if (claims.sub !== serviceAccountUser(namespace, serviceaccount.name))
    throw new Error(`the token's subject ${JSON.stringify(claims.sub)} does not match its service account`);
  return claims;
}
