import type { DockerEngine } from '../../src/docker/engine.ts';
import { isDockerConflict, isDockerNotFound } from '../../src/docker/errors.ts';
import type { Pod } from '../../src/kube/types.ts';
import type { Logger } from '../../src/runtime/log.ts';
import { formatContainerName, podKey, SANDBOX_CONTAINER_NAME } from '../containers/identity.ts';
import type { StartSlots } from '../containers/start-slots.ts';
import type { AgentMetrics, PodNetwork, PodResources, SandboxStatus } from '../pods/ports.ts';
import { buildSandboxConfig, hostPortsOf } from './config.ts';

export interface SandboxOptions {
  nodeName: string;
  /** `--pod-infra-container-image`. */
  pauseImage: string;
}

export interface SandboxDependencies {
  docker: DockerEngine;
  network: PodNetwork;
  resources: Pick<PodResources, 'cgroupParent' | 'oomScoreAdj'>;
  metrics: AgentMetrics;
  slots: StartSlots;
  log: Logger;
}

/** Pause containers and their network. */
export interface Sandboxes {
  /** Makes the pause container, not started. A leftover of the same name (ours, by its name) gives way. */
  create(pod: Pod, attempt: number, kernelHostname: string, signal: AbortSignal): Promise<string>;
  /** Starts it and connects it to the pod network; resolves to the pod's addresses (none for the host's network). */
  start(pod: Pod, id: string, signal: AbortSignal): Promise<string[]>;
  /** Disconnects and removes. Idempotent; both are tried. */
  remove(pod: Pod, sandbox: Pick<SandboxStatus, 'id' | 'hostNetwork'>, signal?: AbortSignal): Promise<void>;
}

export function createSandboxes(options: SandboxOptions, deps: SandboxDependencies): Sandboxes {
  const { docker, network, resources, metrics, log } = deps;

  async function createPause(pod: Pod, attempt: number, kernelHostname: string, signal: AbortSignal): Promise<string> {
    const { name: podName, namespace: podNamespace = 'default', uid: podUid } = pod.metadata;
    const name = formatContainerName({ container: SANDBOX_CONTAINER_NAME, podName, podNamespace, podUid, attempt });
    const config = buildSandboxConfig({
      pod,
      nodeName: options.nodeName,
      pauseImage: options.pauseImage,
      kernelHostname,
      cgroupParent: resources.cgroupParent(pod),
      oomScoreAdj: resources.oomScoreAdj(pod, SANDBOX_CONTAINER_NAME),
    });
    for (let tries = 0; ; tries++) {
      try {
        return (await docker.createContainer(name, config, signal)).id;
      } catch (error) {
        if (tries > 0) throw error;
        if (isDockerConflict(error)) await docker.removeContainer(name, { force: true }, signal);
        else if (isDockerNotFound(error)) {
          log.info({ image: options.pauseImage }, 'pulling the pause image');
          await docker.pullImage(options.pauseImage, {}, signal);
        } else throw error;
      }
    }
  }

  const attachment = (pod: Pod, sandboxId: string) => ({
    sandboxId,
    namespace: pod.metadata.namespace ?? 'default',
    name: pod.metadata.name,
    uid: pod.metadata.uid,
    hostPorts: hostPortsOf(pod),
    annotations: pod.metadata.annotations,
  });

  return {
    create: (pod, attempt, kernelHostname, signal) =>
      deps.slots.run('sandbox', () =>
        metrics.runtimeOperation('create_podsandbox', () => createPause(pod, attempt, kernelHostname, signal)),
      ),
    start: (pod, id, signal) =>
      metrics.runtimeOperation('run_podsandbox', async () => {
        await deps.slots.run('sandbox', () => docker.startContainer(id, signal));
        metrics.containerStarted('podsandbox');
        if (pod.spec.hostNetwork) return [];
        // The one inspection of a pod's start: only it tells the process, whose network namespace is to be connected.
        const { pid } = await docker.inspectContainer(id, signal);
        if (pid === undefined) throw new Error('the pause container ended at once');
        const { ips } = await network.attach({ ...attachment(pod, id), netnsPath: `/proc/${pid}/ns/net` }, signal);
        return ips;
      }),
    async remove(pod, sandbox, signal) {
      const failures: unknown[] = [];
      if (!sandbox.hostNetwork)
        await network.detach(attachment(pod, sandbox.id)).catch((error) => failures.push(error));
      await metrics
        .runtimeOperation('remove_podsandbox', () => docker.removeContainer(sandbox.id, { force: true }, signal))
        .catch((error) => {
          if (!isDockerNotFound(error)) failures.push(error);
        });
      if (failures.length > 0)
        throw new AggregateError(failures, `removing sandbox of ${podKey(pod)}: ${failures.map(String).join('; ')}`);
    },
  };
}
