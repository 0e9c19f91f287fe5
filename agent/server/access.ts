import type { IncomingMessage } from 'node:http';
import type { TLSSocket } from 'node:tls';
import { certificateUser } from '../../src/auth/certificate.ts';
import type { UserInfo } from '../../src/auth/user.ts';
import type { Logger } from '../../src/runtime/log.ts';
import { type Authorizer, subresourcesOf, verbOf } from './authorization.ts';
import { insider } from './insiders.ts';

export interface AccessPolicy {
  /** Judges bearer tokens; absent: only certificates are taken. Throws when it cannot tell. */
  authenticateToken?(token: string): Promise<UserInfo | undefined>;
  /** `authentication.anonymous.enabled`: who shows nothing is `system:anonymous`, and goes on to the authorizer. */
  anonymous?: boolean;
  authorize: Authorizer;
}

export interface AccessRefusal {
  status: 401 | 403 | 429 | 500;
  text: string;
}

/** Why a request is refused, as upstream says it; undefined lets it in. Asked before anything else of every request, upgrades too. */
export type RefuseAccess = (request: IncomingMessage, path: string) => Promise<AccessRefusal | undefined>;

const ANONYMOUS: UserInfo = { username: 'system:anonymous', groups: ['system:unauthenticated'] };
const AUTHENTICATED = 'system:authenticated';

export function createAccess(policy: AccessPolicy, { log }: { log: Logger }): RefuseAccess {
  /** A certificate first, then a token; a token that is shown and not good is a refusal, whatever anonymous people may. */
  async function authenticate(request: IncomingMessage): Promise<UserInfo | undefined> {
    const socket = request.socket as TLSSocket;
    const known = insider(socket);
    if (known) return known;
    const certificate = socket.authorized ? socket.getPeerX509Certificate() : undefined;
    const user = certificate && certificateUser(certificate.raw);
    if (user) return user;
    const token = bearerToken(request.headers.authorization);
    if (token !== undefined && policy.authenticateToken) return policy.authenticateToken(token);
    return policy.anonymous && token === undefined ? ANONYMOUS : undefined;
  }

  return async (request, path) => {
    let user: UserInfo | undefined;
    try {
      user = await authenticate(request);
    } catch (error) {
      log.warn({ err: error }, 'a bearer token could not be reviewed');
    }
    if (!user) return { status: 401, text: 'Unauthorized' };
    if (user !== ANONYMOUS && !user.groups.includes(AUTHENTICATED))
      user = { ...user, groups: [...user.groups, AUTHENTICATED] };
    const verb = verbOf(request.method ?? 'GET');
    const subresources = subresourcesOf(path);
    const what = `user=${user.username}, verb=${verb}, resource=nodes, subresource=[${subresources.join(' ')}]`;
    try {
      if (await policy.authorize(user, verb, subresources)) return undefined;
    } catch (error) {
      log.warn({ err: error, user: user.username }, 'access to the node could not be reviewed');
      return { status: 500, text: `Authorization error (${what})` };
    }
    return { status: 403, text: `Forbidden (${what})` };
  };
}

function bearerToken(header: string | undefined): string | undefined {
  const match = /^bearer +(\S+) *$/i.exec(header ?? '');
  return match?.[1];
}
