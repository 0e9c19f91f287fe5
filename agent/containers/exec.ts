import type { DockerEngine } from '../../src/docker/engine.ts';
import type { ContainerExec } from '../pods/ports.ts';

/** Commands in containers, for probes and hooks. A timeout throws TimeoutError; the Engine cannot end the process then. */
export function createContainerExec(docker: Pick<DockerEngine, 'execInContainer'>): ContainerExec {
  return {
    async exec(containerId, command, { timeoutMs, maxOutputBytes, signal }) {
      const timeout = AbortSignal.timeout(timeoutMs);
      const both = signal ? AbortSignal.any([timeout, signal]) : timeout;
      const { exitCode, output } = await docker.execInContainer(containerId, command, { maxOutputBytes }, both);
      return { exitCode, output: output.toString('utf8') };
    },
  };
}
