import { join } from 'node:path';
import type { Holdings } from '../../agent/pod-resources-api/answers.ts';
import { createPodResourcesApi, type PodResourcesApiDependencies } from '../../agent/pod-resources-api/server.ts';
import type { MemoryBlock } from '../../agent/resources/memory-manager/memory-state.ts';
import type { ContainerMemory } from '../../src/grpc/pod-resources.ts';
import { retry } from '../../src/runtime/backoff.ts';
import type { Runnable } from '../../src/runtime/run-together.ts';
import type { ProgramContext } from './context.ts';
import type { Devices } from './devices.ts';
import type { ResourceManagers } from './resource-managers.ts';

const LISTEN_RETRY = { initialMs: 1_000, maxMs: 60_000 };

export interface PodResourcesApiPartDependencies extends Pick<PodResourcesApiDependencies, 'pods' | 'registry'> {
  managers: Pick<ResourceManagers, 'cpu' | 'memory'>;
  devices: Pick<Devices, 'holdings'>;
}

/** The pod resources API of this node; a socket that cannot be made ends nothing else. */
export function createPodResourcesApiPart(
  rootDir: string,
  { pods, registry, managers, devices }: PodResourcesApiPartDependencies,
  { log, clock }: ProgramContext,
): Runnable {
  const { cpu, memory } = managers;
  const holdings: Holdings = {
    devices: devices.holdings,
    ...(cpu && { cpus: { ofContainer: cpu.exclusive, allocatable: cpu.allocatable } }),
    ...(memory && {
      memory: {
        ofContainer: (uid, container) => memory.blocks(uid, container).map(describeBlock),
        allocatable: () => memory.allocatable().map(describeBlock),
      },
    }),
  };
  const socketPath = join(rootDir, 'pod-resources', 'kubelet.sock');
  const server = createPodResourcesApi({ socketPath }, { pods, registry, holdings, clock });
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

function describeBlock({ type, size, numaAffinity }: MemoryBlock): ContainerMemory {
  return { memoryType: type, size, topology: { nodes: numaAffinity.map((id) => ({ id })) } };
}
