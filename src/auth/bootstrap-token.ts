import { createHmac, randomInt, timingSafeEqual } from 'node:crypto';

/** `abcdef.0123456789abcdef`: a public id and a secret. */
export interface BootstrapToken {
  readonly id: string;
  readonly secret: string;
}

const ALPHABET = '0123456789abcdefghijklmnopqrstuvwxyz';
const ID_LENGTH = 6;
const SECRET_LENGTH = 16;

/** undefined for what is no bootstrap token. */
export function parseBootstrapToken(text: string): BootstrapToken | undefined {
  const match = /^([a-z0-9]{6})\.([a-z0-9]{16})$/.exec(text);
  return match ? { id: match[1]!, secret: match[2]! } : undefined;
}

export function makeBootstrapToken(): BootstrapToken {
  const text = (length: number) => Array.from({ length }, () => ALPHABET[randomInt(ALPHABET.length)]).join('');
  return { id: text(ID_LENGTH), secret: text(SECRET_LENGTH) };
}

export const formatBootstrapToken = ({ id, secret }: BootstrapToken): string => `${id}.${secret}`;

/**
 * A detached JWS (HS256) over `content` by the token's secret: who holds the token knows that the cluster does too, before it trusts a word of it.
 * Header and order are those of kubeadm, which compares texts.
 */
export function signDetached(content: string, { id, secret }: BootstrapToken): string {
  const header = Buffer.from(JSON.stringify({ alg: 'HS256', kid: id })).toString('base64url');
  const payload = Buffer.from(content).toString('base64url');
  const signature = createHmac('sha256', secret).update(`${header}.${payload}`).digest('base64url');
  return `${header}..${signature}`;
}

/** Whether the detached JWS is by this token over this content. */
export function verifyDetached(jws: string, content: string, token: BootstrapToken): boolean {
  const [given, wanted] = [Buffer.from(jws), Buffer.from(signDetached(content, token))];
  return given.length === wanted.length && timingSafeEqual(given, wanted);
}
