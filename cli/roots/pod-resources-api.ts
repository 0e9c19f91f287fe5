import { join } from 'node:path';
import { createPodResourcesApi, type PodResourcesApiDependencies } from '../../agent/pod-resources-api/server.ts';
import { retry } from '../../src/runtime/backoff.ts';
import type { Runnable } from '../../src/runtime/run-together.ts';
import type { ProgramContext } from './context.ts';

const LISTEN_RETRY = { initialMs: 1_000, maxMs: 60_000 };

/** The pod resources API of this node; a socket that cannot be made ends nothing else. */
export function createPodResourcesApiPart(
  rootDir: string,
  deps: Pick<PodResourcesApiDependencies, 'pods' | 'holdings' | 'registry'>,
  { log, clock }: ProgramContext,
): Runnable {
  const socketPath = join(rootDir, 'pod-resources', 'kubelet.sock');
  const server = createPodResourcesApi({ socketPath }, { ...deps, clock });
  const onFailure = (error: unknown, retryMs: number) =>
    log.error({ socketPath, err: error, retryMs }, 'the pod resources API cannot be served');
  return {
    async run(signal) {
      try {
        await retry(() => server.listen(), { ...LISTEN_RETRY, clock, signal, onFailure });
        await new Promise<void>((resolve) => {
          if (signal.aborted) resolve();
          signal.addEventListener('abort', () => resolve(), { once: true });
        });
      } catch (error) {
        if (!signal.aborted) throw error;
      } finally {
        await server.close();
      }
    },
  };
}
