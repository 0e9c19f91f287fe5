import type { IncomingMessage } from 'node:http';
import type { TLSSocket } from 'node:tls';
import { certificateUser } from '../../src/auth/certificate.ts';
import { authorize } from './authorization.ts';

/** Why a request is refused, as upstream says it; undefined lets it in. Asked before anything else of every request, upgrades too. */
export function refuseAccess(request: IncomingMessage, path: string): { status: 401 | 403; text: string } | undefined {
  const socket = request.socket as TLSSocket;
  const certificate = socket.authorized ? socket.getPeerX509Certificate() : undefined;
  const user = certificate && certificateUser(certificate.raw);
  if (!user) return { status: 401, text: 'Unauthorized' };
  const refusal = authorize(user, request.method ?? 'GET', path);
  return refusal === undefined ? undefined : { status: 403, text: refusal };
}
