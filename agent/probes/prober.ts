import type { Container, Pod } from '../../src/kube/types.ts';
import type { ContainerExec } from '../pods/ports.ts';
import { probeGrpc } from './grpc.ts';
import { probeHttp } from './http.ts';
import { MAX_OUTPUT_BYTES, type ProbeOutcome } from './outcome.ts';
import { type ProbeSettings, resolvePort } from './settings.ts';
import { probeTcp } from './tcp.ts';

export interface ProbeTarget {
  pod: Pod;
  container: Container;
  containerId: string;
  /** Where http, tcp and grpc probes go unless they name a host. */
  podIp: string | undefined;
}

/** Executes one probe once. Throws when it cannot be told how the container is. */
export type Prober = (settings: ProbeSettings, target: ProbeTarget) => Promise<ProbeOutcome>;

export function createProber(deps: { exec: ContainerExec; userAgent: string }): Prober {
  const { exec, userAgent } = deps;
  return async ({ probe, timeoutMs }, { container, containerId, podIp }) => {
    const hostOf = (host: string | undefined) => {
      const target = host || podIp;
      if (!target) throw new Error('the pod has no IP address yet');
      return target;
    };
    if (probe.exec) return probeExec(exec, containerId, probe.exec.command ?? [], timeoutMs);
    if (probe.httpGet) {
      const { scheme = 'HTTP', host, port, path = '/', httpHeaders = [] } = probe.httpGet;
      return probeHttp({
        scheme: scheme === 'HTTPS' ? 'HTTPS' : 'HTTP',
        host: hostOf(host),
        port: resolvePort(port, container),
        path,
        headers: httpHeaders,
        timeoutMs,
        userAgent,
      });
    }
    if (probe.tcpSocket)
      return probeTcp(hostOf(probe.tcpSocket.host), resolvePort(probe.tcpSocket.port, container), timeoutMs);
    if (probe.grpc)
      return probeGrpc(hostOf(undefined), probe.grpc.port, probe.grpc.service ?? '', timeoutMs, userAgent);
    throw new Error(`missing probe handler for container ${container.name}`);
  };
}

async function probeExec(
  exec: ContainerExec,
  containerId: string,
  command: string[],
  timeoutMs: number,
): Promise<ProbeOutcome> {
  try {
    const { exitCode, output } = await exec.exec(containerId, command, { timeoutMs, maxOutputBytes: MAX_OUTPUT_BYTES });
    return { result: exitCode === 0 ? 'success' : 'failure', output };
  } catch (error) {
    if ((error as Error).name !== 'TimeoutError') throw error;
    return {
      result: 'failure',
      output: `command ${JSON.stringify(command.join(' '))} timed out after ${timeoutMs / 1000}s`,
    };
  }
}
