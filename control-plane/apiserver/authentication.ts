import type { Http2Session } from 'node:http2';
import type { TLSSocket } from 'node:tls';
import { certificateUser } from '../../src/auth/certificate.ts';
import { type TokenAuthenticator, TokenRefusedError } from '../../src/auth/token-authenticator.ts';
import type { UserInfo } from '../../src/auth/user.ts';
import type { Logger } from '../../src/runtime/log.ts';
import type { HttpRequest } from './exchange.ts';

export const ANONYMOUS: UserInfo = { username: 'system:anonymous', groups: ['system:unauthenticated'] };

/** The only paths that answer without credentials (and what is below them: /livez/ping). */
const OPEN_PATHS = ['/healthz', '/livez', '/readyz', '/version'];
/** What a host reads before it can show who it is; whether it may is still the authorizer's to say. */
const CLUSTER_INFO_PATH = '/api/v1/namespaces/kube-public/configmaps/cluster-info';

/** Paths that anybody may read, whoever it is. */
export const isOpen = (path: string) => OPEN_PATHS.some((open) => path === open || path.startsWith(`${open}/`));

/** Whether a request without credentials is anonymous people's; elsewhere it is refused as such. */
export const allowsAnonymous = (path: string) => isOpen(path) || path === CLUSTER_INFO_PATH;

export interface Authenticator {
  /** Who sent the request; `undefined` without credentials, `'rejected'` when those that came are not valid. */
  authenticate(request: HttpRequest): Promise<UserInfo | undefined | 'rejected'>;
}

/** Client certificates of the CA first, then each of the token authenticators. Why something is refused goes to the log. */
export function createAuthenticator(tokens: readonly TokenAuthenticator[], log: Logger): Authenticator {
  /** A connection's certificate is read once, not per request. */
  const byConnection = new WeakMap<object, UserInfo | undefined | 'rejected'>();

  function refuse(client: string | undefined, credentials: string, reason: string): 'rejected' {
    log.warn({ client, credentials, reason }, 'credentials refused');
    return 'rejected';
  }

  function fromCertificate(request: HttpRequest): UserInfo | undefined | 'rejected' {
    const session: Http2Session | undefined = 'stream' in request ? request.stream.session : undefined;
    const connection = session ?? request.socket;
    if (byConnection.has(connection)) return byConnection.get(connection);
    const socket = (session?.socket ?? request.socket) as TLSSocket;
    const user = socketUser(socket);
    if (user === 'rejected')
      refuse(socket.remoteAddress, 'client certificate', String(socket.authorizationError ?? 'it names no user'));
    byConnection.set(connection, user);
    return user;
  }

  async function fromToken(request: HttpRequest, bearer: string): Promise<UserInfo | 'rejected'> {
    const client = request.socket?.remoteAddress;
    try {
      for (const authenticator of tokens) {
        const user = await authenticator.authenticate(bearer);
        if (user) return authenticated(user);
      }
    } catch (error) {
      if (!(error instanceof TokenRefusedError)) throw error;
      return refuse(client, 'bearer token', error.message);
    }
    return refuse(client, 'bearer token', 'nobody here issued it');
  }

  return {
    async authenticate(request) {
      const certified = fromCertificate(request);
      if (certified && certified !== 'rejected') return certified;
      const bearer = /^Bearer +(\S+)$/i.exec(request.headers.authorization ?? '')?.[1];
      if (bearer === undefined) return request.headers.authorization ? 'rejected' : certified;
      return fromToken(request, bearer);
    },
  };
}

function socketUser(socket: TLSSocket): UserInfo | undefined | 'rejected' {
  const { raw } = socket.getPeerCertificate();
  if (!raw) return undefined;
  // OpenSSL has checked the chain, the dates and that the certificate is one for clients.
  if (!socket.authorized) return 'rejected';
  const user = certificateUser(raw);
  return user ? authenticated(user) : 'rejected';
}

function authenticated(user: UserInfo): UserInfo {
  if (user.groups.includes('system:authenticated')) return user;
  return { ...user, groups: [...user.groups, 'system:authenticated'] };
}
