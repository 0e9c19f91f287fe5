import { request as httpRequest } from 'node:http';
import { request as httpsRequest } from 'node:https';
import type { Container, HTTPGetAction, LifecycleHandler } from '../../src/kube/types.ts';
import type { Clock } from '../../src/runtime/clock.ts';
import type { ContainerExec } from '../pods/ports.ts';

/** Kubernetes version in the User-Agent of hooks. */
const USER_AGENT = 'kube-lifecycle/1.36';
const EXEC_TIMEOUT_MS = 2 * 60_000;

export interface HookContext {
  container: Container;
  containerId: string;
  podIp: string | undefined;
  signal: AbortSignal;
}

export interface LifecycleHooks {
  /** Runs a postStart or preStop handler to its end; throws when it fails. */
  run(handler: LifecycleHandler, context: HookContext): Promise<void>;
}

/** Lifecycle handlers: exec, httpGet, sleep (sheet §11). tcpSocket is accepted and ignored, as upstream does. */
export function createLifecycleHooks(exec: ContainerExec, clock: Clock): LifecycleHooks {
  return {
    async run(handler, { container, containerId, podIp, signal }) {
      if (handler.exec) {
        const command = handler.exec.command ?? [];
        const { exitCode, output } = await exec.exec(containerId, command, { timeoutMs: EXEC_TIMEOUT_MS, signal });
        if (exitCode !== 0)
          throw new Error(`command '${command.join(' ')}' exited with ${exitCode}: ${output.trim() || '(no output)'}`);
      } else if (handler.httpGet) await runHttpGet(handler.httpGet, container, podIp, signal);
      else if (handler.sleep) await clock.sleep(handler.sleep.seconds * 1000, signal);
    },
  };
}

function portNumber(container: Container, port: number | string): number {
  if (typeof port === 'number') return port;
  const named = container.ports?.find(({ name }) => name === port)?.containerPort;
  const number = named ?? Number(port);
  if (!Number.isInteger(number))
    throw new Error(`no port named ${JSON.stringify(port)} in container ${container.name}`);
  return number;
}

/** An answer below 400 is success. TLS is not verified: the pod has no name to verify. */
function runHttpGet(
  action: HTTPGetAction,
  container: Container,
  podIp: string | undefined,
  signal: AbortSignal,
): Promise<void> {
  const host = action.host || podIp;
  if (!host) throw new Error('httpGet hook: the pod has no address');
  const headers: Record<string, string> = { 'User-Agent': USER_AGENT };
  for (const { name, value } of action.httpHeaders ?? []) headers[name] = value;
  const options = {
    host,
    port: portNumber(container, action.port),
    path: action.path || '/',
    headers,
    signal,
    agent: false as const,
    rejectUnauthorized: false,
  };
  const send = action.scheme === 'HTTPS' ? httpsRequest : httpRequest;
  return new Promise((resolve, reject) => {
    const call = send(options, (response) => {
      response.resume();
      const status = response.statusCode ?? 0;
      if (status >= 200 && status < 400) resolve();
      else reject(new Error(`httpGet hook: HTTP status ${status}`));
    });
    call.on('error', reject);
    call.end();
  });
}
