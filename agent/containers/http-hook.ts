import { request as httpRequest } from 'node:http';
import { request as httpsRequest } from 'node:https';
import type { Container, HTTPGetAction } from '../../src/kube/types.ts';

/** Kubernetes version in the User-Agent of hooks. */
const USER_AGENT = 'kube-lifecycle/1.36';
/** What a client of OpenSSL says to a server that answers in plain HTTP. */
const PLAIN_HTTP_ANSWER = new Set(['ERR_SSL_WRONG_VERSION_NUMBER', 'ERR_SSL_PACKET_LENGTH_TOO_LONG', 'EPROTO']);

export interface HttpHookTarget {
  container: Container;
  podIp: string | undefined;
  signal: AbortSignal;
}

/**
 * Sends a httpGet hook. As upstream, any answer counts as success, whatever its status; TLS is not verified (the pod has
 * no name to verify), and a server that speaks plain HTTP where HTTPS was asked for is asked again so.
 * Resolves to the host and port that did; undefined when the first try was enough.
 */
export async function sendHttpHook(
  action: HTTPGetAction,
  { container, podIp, signal }: HttpHookTarget,
): Promise<{ fellBackFor: string } | undefined> {
  const host = action.host || podIp;
  if (!host) throw new Error('httpGet hook: the pod has no address');
  const port = portNumber(container, action.port);
  const headers: Record<string, string> = { 'User-Agent': USER_AGENT, Accept: '*/*' };
  for (const { name, value } of action.httpHeaders ?? []) headers[name] = value;
  const options = { host, port, path: pathOf(action.path), headers, signal };
  if (action.scheme !== 'HTTPS') {
    await send(false, options);
    return undefined;
  }
  try {
    await send(true, options);
    return undefined;
  } catch (error) {
    if (!PLAIN_HTTP_ANSWER.has((error as NodeJS.ErrnoException).code ?? '')) throw error;
  }
  // Credentials that were meant for TLS do not go over the wire in the clear.
  const inTheClear = Object.entries(headers).filter(([name]) => name.toLowerCase() !== 'authorization');
  await send(false, { ...options, headers: Object.fromEntries(inTheClear) });
  return { fellBackFor: `${host}:${port}` };
}

function pathOf(path: string | undefined): string {
  return path?.startsWith('/') ? path : `/${path ?? ''}`;
}

function portNumber(container: Container, port: number | string): number {
  if (typeof port === 'number') return port;
  const named = container.ports?.find(({ name }) => name === port)?.containerPort;
  const number = named ?? Number(port);
  if (!Number.isInteger(number))
    throw new Error(`no port named ${JSON.stringify(port)} in container ${container.name}`);
  return number;
}

interface HookRequest {
  host: string;
  port: number;
  path: string;
  headers: Record<string, string>;
  signal: AbortSignal;
}

function send(secure: boolean, request: HookRequest): Promise<void> {
  return new Promise((resolve, reject) => {
    const options = { ...request, agent: false as const, rejectUnauthorized: false };
    const call = (secure ? httpsRequest : httpRequest)(options, (response) => {
      // Nobody reads the body, and an endless one must not keep the connection.
      response.destroy();
      resolve();
    });
    call.on('error', reject);
    call.end();
  });
}
