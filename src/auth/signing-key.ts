import { createHash, createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject } from 'node:crypto';
import { CompactSign } from 'jose/jws/compact/sign';
import { compactVerify } from 'jose/jws/compact/verify';

/** A key of RFC 7517, as /openid/v1/jwks publishes it. */
export interface PublicJwk {
  readonly use: 'sig';
  readonly alg: string;
  readonly kid: string;
  readonly kty: string;
  readonly [parameter: string]: string;
}

/** A private key that signs tokens, and what proves that it did. */
export interface SigningKey {
  /** base64url of the SHA-256 of the public key's DER, as upstream names its keys. */
  readonly keyId: string;
  /** ES256 or RS256. */
  readonly algorithm: string;
  readonly publicJwk: PublicJwk;
  /** SPKI, PEM. */
  readonly publicPem: string;
  /** A compact JWS over the JSON of `claims`. */
  sign(claims: object): Promise<string>;
  /** The payload of a compact JWS that this key signed; throws for any other, and for one with another algorithm. */
  verify(token: string): Promise<Uint8Array>;
}

/** A new ECDSA P-256 key, PKCS #8 PEM. */
export function createSigningKeyPem(): string {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  return privateKey.export({ type: 'pkcs8', format: 'pem' }) as string;
}

/** Reads a private key: ECDSA P-256, or RSA from 2048 bits up (kubeadm's sa.key). Throws an Error that says what is wrong with it. */
export function loadSigningKey(privateKeyPem: string): SigningKey {
  const privateKey = readPrivateKey(privateKeyPem);
  const algorithm = algorithmOf(privateKey);
  const publicKey = createPublicKey(privateKey);
  const der = publicKey.export({ type: 'spki', format: 'der' });
  const keyId = createHash('sha256').update(der).digest('base64url');
  const jwk = publicKey.export({ format: 'jwk' }) as Record<string, string> & { kty: string };
  return {
    keyId,
    algorithm,
    publicJwk: { use: 'sig', alg: algorithm, kid: keyId, ...jwk },
    publicPem: publicKey.export({ type: 'spki', format: 'pem' }) as string,
    sign: (claims) =>
      new CompactSign(Buffer.from(JSON.stringify(claims)))
        .setProtectedHeader({ alg: algorithm, kid: keyId })
        .sign(privateKey),
    async verify(token) {
      const { payload } = await compactVerify(token, publicKey, { algorithms: [algorithm] });
      return payload;
    },
  };
}

function readPrivateKey(pem: string): KeyObject {
  try {
    return createPrivateKey(pem);
  } catch (error) {
    throw new Error(`the service account key is not a private key in PEM: ${(error as Error).message}`, {
      cause: error,
    });
  }
}

const LEAST_RSA_BITS = 2048;

function algorithmOf({ asymmetricKeyType, asymmetricKeyDetails }: KeyObject): 'ES256' | 'RS256' {
  const { namedCurve, modulusLength = 0 } = asymmetricKeyDetails ?? {};
  if (asymmetricKeyType === 'ec' && namedCurve === 'prime256v1') return 'ES256';
  if (asymmetricKeyType === 'rsa' && modulusLength >= LEAST_RSA_BITS) return 'RS256';
  const found = [asymmetricKeyType, namedCurve ?? (modulusLength ? `${modulusLength} bits` : '')].join(' ').trim();
  throw new Error(
    `the service account key is of type ${found}; ECDSA P-256 and RSA from ${LEAST_RSA_BITS} bits up are supported`,
  );
}
