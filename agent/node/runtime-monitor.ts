import type { DockerEngine } from '../../src/docker/engine.ts';
import type { Clock } from '../../src/runtime/clock.ts';
import type { Logger } from '../../src/runtime/log.ts';

export interface RuntimeMonitor {
  /** Reason against Ready, or undefined when the Engine answers. */
  problem(): string | undefined;
  /** Version of the Engine as last heard; empty before the first answer. */
  version(): string;
  run(signal: AbortSignal): Promise<void>;
}

const CHECK_MS = 5000;
/** An Engine of another version has been away before; one that came back between two checks is asked for it by then. */
const VERSION_CHECKS = 60;
/** An Engine that restarts is forgiven for this long. */
const TOLERANCE_MS = 30_000;
const FIRST_CHECK_MS = 100;

/** Asks the Docker Engine now and then whether it lives. */
export function createRuntimeMonitor(deps: {
  docker: Pick<DockerEngine, 'version' | 'ping'>;
  clock: Clock;
  log: Logger;
  /** Told when the verdict changes. */
  onChange?: () => void;
}): RuntimeMonitor {
  const { docker, clock, log } = deps;
  let lastSuccessMs: number | undefined;
  let version = '';
  let checksUntilVersion = 0;
  let verdict: string | undefined = '';

  const problem = () => {
    if (lastSuccessMs === undefined) return 'container runtime status check may not have completed yet';
    return clock.monotonicMs() - lastSuccessMs > TOLERANCE_MS ? 'container runtime is down' : undefined;
  };

  async function check(signal: AbortSignal) {
    try {
      const patience = AbortSignal.any([signal, AbortSignal.timeout(CHECK_MS * 2)]);
      if (checksUntilVersion === 0) {
        version = (await docker.version(patience)).version;
        checksUntilVersion = VERSION_CHECKS;
      } else await docker.ping(patience);
      checksUntilVersion--;
      lastSuccessMs = clock.monotonicMs();
    } catch (error) {
      if (signal.aborted) return;
      checksUntilVersion = 0;
      log.warn({ err: error }, 'the Docker Engine does not answer');
    }
    if (problem() === verdict) return;
    verdict = problem();
    deps.onChange?.();
  }

  return {
    problem,
    version: () => version,
    async run(signal) {
      while (!signal.aborted) {
        await check(signal);
        await clock.sleep(lastSuccessMs === undefined ? FIRST_CHECK_MS : CHECK_MS, signal).catch(() => {});
      }
    },
  };
}
