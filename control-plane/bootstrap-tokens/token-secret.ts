import { type BootstrapToken, parseBootstrapToken } from '../../src/auth/bootstrap-token.ts';
import type { Secret } from '../../src/kube/types.ts';

export const NAMESPACE = 'kube-system';
export const SECRET_TYPE = 'bootstrap.kubernetes.io/token';
const NAME_PREFIX = 'bootstrap-token-';
const GROUP = /^system:bootstrappers:[a-z0-9:-]{0,255}[a-z0-9]$/;

/** What a Secret of the type bootstrap.kubernetes.io/token says (sheet §12). */
export interface TokenSecret {
  readonly token: BootstrapToken;
  readonly expiresAtMs: number | undefined;
  readonly authenticates: boolean;
  readonly signs: boolean;
  /** Beside system:bootstrappers. */
  readonly extraGroups: readonly string[];
}

export const secretNameOf = (id: string) => `${NAME_PREFIX}${id}`;

/** undefined for a Secret that is none, or one that contradicts itself: its name must be that of its id. Pure. */
export function parseTokenSecret(secret: Secret): TokenSecret | undefined {
  if (secret.type !== SECRET_TYPE || secret.metadata.namespace !== NAMESPACE) return undefined;
  const text = (key: string) => Buffer.from(secret.data?.[key] ?? '', 'base64').toString();
  const token = parseBootstrapToken(`${text('token-id')}.${text('token-secret')}`);
  if (!token || secret.metadata.name !== secretNameOf(token.id)) return undefined;
  const expiration = text('expiration');
  const expiresAtMs = expiration === '' ? undefined : Date.parse(expiration);
  if (Number.isNaN(expiresAtMs)) return undefined;
  const extraGroups = text('auth-extra-groups').split(',').filter(Boolean);
  // A group that is none of bootstrappers would make a token a back door.
  if (!extraGroups.every((group) => GROUP.test(group))) return undefined;
  return {
    token,
    expiresAtMs,
    authenticates: text('usage-bootstrap-authentication') === 'true',
    signs: text('usage-bootstrap-signing') === 'true',
    extraGroups,
  };
}

export const isExpired = ({ expiresAtMs }: TokenSecret, nowMs: number) =>
  expiresAtMs !== undefined && expiresAtMs <= nowMs;
