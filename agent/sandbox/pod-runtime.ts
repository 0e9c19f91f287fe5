import type { ContainerConfig, DockerEngine } from '../../src/docker/engine.ts';
import { DockerError } from '../../src/docker/errors.ts';
import { createNetns, type HeldNetns } from '../../src/linux/netns.ts';
import type { Logger } from '../../src/runtime/log.ts';

/**
 * Environment variable of the pause container that tells the OCI runtime which network namespace it joins. What is written there is fixed at
 * create and reaches the runtime in the bundle's config.json: no file to be left over, nothing that a pod could set for a pause.
 */
export const NETNS_VARIABLE = 'BERTH_NETNS';

/** An OCI runtime that joins pods' containers to namespaces as the Engine itself cannot (docs/adr/0019). */
export interface PodRuntime {
  /** The Engine, which makes pods' containers with that runtime. */
  docker: DockerEngine;
  /** A network namespace for the next sandbox; undefined when the runtime would not join it. */
  prepareNetns(): HeldNetns | undefined;
  /** The runtime did not join one: no more are made. */
  stopPreparing(why: string): void;
}

/**
 * @param name The runtime as the Engine knows it. An Engine that has forgotten it (restarted without) makes containers with its default one:
 *   slower, with the same result, since a sandbox without the runtime gets a namespace of its own in any case.
 */
export function createPodRuntime(
  name: string,
  deps: { docker: DockerEngine; log: Logger; makeNetns?: () => HeldNetns },
): PodRuntime {
  const { docker, log, makeNetns = createNetns } = deps;
  let isKnown = true;
  let joins = true;

  return {
    docker: {
      ...docker,
      async createContainer(containerName, config, signal) {
        if (!isKnown || !sharesPodNetwork(config)) return docker.createContainer(containerName, config, signal);
        try {
          const HostConfig = { ...config.HostConfig, Runtime: name };
          return await docker.createContainer(containerName, { ...config, HostConfig }, signal);
        } catch (error) {
          // "Unknown runtime" is a 400 among others: it was that one when the same call goes through without.
          if (!(error instanceof DockerError) || error.kind !== 'badRequest') throw error;
          const created = await docker.createContainer(containerName, config, signal);
          isKnown = false;
          log.warn(
            { why: error.engineMessage },
            `the Docker Engine refused the runtime ${name}: pods start without it`,
          );
          return created;
        }
      },
    },
    prepareNetns: () => (isKnown && joins ? makeNetns() : undefined),
    stopPreparing(why) {
      if (joins)
        log.warn({ why }, `the runtime ${name} does not join prepared network namespaces: none are made any more`);
      joins = false;
    },
  };
}

/** Pods with the host's network have nothing to join. */
function sharesPodNetwork({ HostConfig: { NetworkMode = '', UTSMode } = {} }: ContainerConfig): boolean {
  return NetworkMode === 'none' || (NetworkMode.startsWith('container:') && UTSMode !== 'host');
}
