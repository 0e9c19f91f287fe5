import type { DockerEngine } from '../../src/docker/engine.ts';
import type { ContainerExec } from '../pods/ports.ts';

/** Commands in containers, for probes and hooks. A timeout throws TimeoutError; the Engine cannot end the process then. */
export function createContainerExec(docker: Pick<DockerEngine, 'execInContainer'>): ContainerExec {
  return {
    async exec(containerId, command, { timeoutMs, maxOutputBytes, signal }) {
      const limits = [timeoutMs === undefined ? [] : AbortSignal.timeout(timeoutMs), signal ?? []].flat();
      const { exitCode, output } = await docker.execInContainer(
        containerId,
        command,
        { maxOutputBytes },
        limits.length > 0 ? AbortSignal.any(limits) : undefined,
      );
      return { exitCode, output: output.toString('utf8') };
    },
  };
}
