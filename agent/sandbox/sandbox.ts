import { randomBytes } from 'node:crypto';
import type { DockerEngine } from '../../src/docker/engine.ts';
import { dockerMessage, isDockerConflict, isDockerNotFound } from '../../src/docker/errors.ts';
import type { Pod } from '../../src/kube/types.ts';
import { type HeldNetns, netnsId } from '../../src/linux/netns.ts';
import type { Logger } from '../../src/runtime/log.ts';
import { formatContainerName, podKey, SANDBOX_CONTAINER_NAME } from '../containers/identity.ts';
import type { StartSlots } from '../containers/start-slots.ts';
import type { AgentMetrics, PodNetwork, SandboxStatus } from '../pods/ports.ts';
import type { PodResources } from '../pods/resource-ports.ts';
import { buildSandboxConfig, hostPortsOf } from './config.ts';
import type { PodRuntime } from './pod-runtime.ts';

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
  podRuntime?: Pick<PodRuntime, 'prepareNetns' | 'stopPreparing'>;
  /** Brings the pause image here when it is missing. */
  pullImage(image: string, signal: AbortSignal): Promise<void>;
  log: Logger;
}

/** After so many starts in a row that failed with a prepared namespace, it is tried without: it may be the reason. */
const FAILED_STARTS = 3;

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
  const { docker, network, resources, metrics, log, podRuntime } = deps;
  /** By container id, from create to start: where the pod's network is being set up before its pause runs. */
  const prepared = new Map<string, HeldNetns>();
  let failedStarts = 0;

  function release(id: string): void {
    prepared.get(id)?.close();
    prepared.delete(id);
  }

  async function createPrepared(pod: Pod, attempt: number, kernelHostname: string, signal: AbortSignal) {
    const netns = pod.spec.hostNetwork ? undefined : podRuntime?.prepareNetns();
    try {
      const id = await createPause(pod, attempt, kernelHostname, netns?.path, signal);
      if (netns) prepared.set(id, netns);
      return id;
    } catch (error) {
      netns?.close();
      throw error;
    }
  }

  async function createPause(
    pod: Pod,
    attempt: number,
    kernelHostname: string,
    netnsPath: string | undefined,
    signal: AbortSignal,
  ): Promise<string> {
    const { name: podName, namespace: podNamespace = 'default', uid: podUid } = pod.metadata;
    const name = formatContainerName({ container: SANDBOX_CONTAINER_NAME, podName, podNamespace, podUid, attempt });
    const config = buildSandboxConfig({
      pod,
      nodeName: options.nodeName,
      pauseImage: options.pauseImage,
      kernelHostname,
      cgroupParent: resources.cgroupParent(pod),
      oomScoreAdj: resources.oomScoreAdj(pod, SANDBOX_CONTAINER_NAME),
      ...(netnsPath && { netnsPath }),
    });
    let free = name;
    for (let tries = 0; ; tries++) {
      try {
        return (await docker.createContainer(free, config, signal)).id;
      } catch (error) {
        if (tries > 1) throw error;
        if (isDockerConflict(error)) free = await freeName(name, signal);
        else if (isDockerNotFound(error)) {
          log.info({ image: options.pauseImage }, 'pulling the pause image');
          await deps.pullImage(options.pauseImage, signal);
        } else throw error;
      }
    }
  }

  /** Has the leftover of a creation that was never answered give way; where it cannot, the pod must not wait for its name. */
  async function freeName(name: string, signal: AbortSignal): Promise<string> {
    try {
      await docker.removeContainer(name, { force: true }, signal);
      return name;
    } catch (error) {
      signal.throwIfAborted();
      log.warn({ sandbox: name, err: error }, 'a leftover sandbox keeps its name; the new one takes another');
      return `${name}_${randomBytes(4).toString('hex')}`;
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

  async function startPause(id: string, signal: AbortSignal): Promise<void> {
    await deps.slots.run('sandbox', () => docker.startContainer(id, signal));
    metrics.containerStarted('podsandbox');
  }

  /** Path of the running pause's network namespace. The one inspection of a pod's start: only it tells the process. */
  async function netnsOf(id: string, signal?: AbortSignal): Promise<string> {
    const { pid } = await docker.inspectContainer(id, signal);
    if (pid === undefined) throw new Error('the pause container ended at once');
    return `/proc/${pid}/ns/net`;
  }

  async function startAndAttach(pod: Pod, id: string, signal: AbortSignal): Promise<string[]> {
    await startPause(id, signal);
    if (pod.spec.hostNetwork) return [];
    const { ips } = await network.attach({ ...attachment(pod, id), netnsPath: await netnsOf(id, signal) }, signal);
    return ips;
  }

  /** Connects the prepared namespace while the pause starts, which is to find itself in it; what really happened counts. */
  async function startInside(netns: HeldNetns, pod: Pod, id: string, signal: AbortSignal): Promise<string[]> {
    // Both to their end: what fails is undone by the caller, who must not meet the other half still at work.
    const [started, attached] = await Promise.allSettled([
      startPause(id, signal),
      network.attach({ ...attachment(pod, id), netnsPath: netns.path }, signal),
    ]);
    if (started.status === 'rejected') {
      failedStarts++;
      if (failedStarts >= FAILED_STARTS || String(started.reason).includes(netns.path))
        podRuntime?.stopPreparing(dockerMessage(started.reason));
      throw started.reason;
    }
    failedStarts = 0;
    if (attached.status === 'rejected') throw attached.reason;
    const netnsPath = await netnsOf(id, signal);
    if (netnsId(netnsPath) === netns.id) return attached.value.ips;
    podRuntime?.stopPreparing(
      `the pause container of ${podKey(pod)} runs in another namespace than the one made for it`,
    );
    await network.detach(attachment(pod, id));
    const { ips } = await network.attach({ ...attachment(pod, id), netnsPath }, signal);
    return ips;
  }

  return {
    create: (pod, attempt, kernelHostname, signal) =>
      deps.slots.run('sandbox', () =>
        metrics.runtimeOperation('create_podsandbox', () => createPrepared(pod, attempt, kernelHostname, signal)),
      ),
    start: (pod, id, signal) =>
      metrics.runtimeOperation('run_podsandbox', async () => {
        const netns = prepared.get(id);
        try {
          return await (netns ? startInside(netns, pod, id, signal) : startAndAttach(pod, id, signal));
        } finally {
          release(id);
        }
      }),
    async remove(pod, sandbox, signal) {
      const failures: unknown[] = [];
      release(sandbox.id);
      if (!sandbox.hostNetwork)
        await network
          .detach({
            ...attachment(pod, sandbox.id),
            findNetns: () => netnsOf(sandbox.id, signal).catch(() => undefined),
          })
          .catch((error) => failures.push(error));
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
