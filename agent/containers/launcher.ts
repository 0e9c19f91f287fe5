import { randomBytes } from 'node:crypto';
import { chmod, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { DockerEngine } from '../../src/docker/engine.ts';
import { dockerMessage } from '../../src/docker/errors.ts';
import type { Container, EphemeralContainer, Pod } from '../../src/kube/types.ts';
import { readProcessUser } from '../../src/linux/process-user.ts';
import type { Clock } from '../../src/runtime/clock.ts';
import type { Images } from '../images/images.ts';
import type { ContainerStart } from '../pods/plan-parts.ts';
import type { AgentMetrics, ConfigSources, EventSink, ServiceEnvironment } from '../pods/ports.ts';
import type { PodResources } from '../pods/resource-ports.ts';
import type { RuntimeCache } from '../pods/runtime-cache.ts';
import { type EngineFeatures, refuseUnsupported } from '../pods/unsupported.ts';
import type { Allocations } from '../resources/allocation/allocations.ts';
import type { ContainerMounts } from '../volumes/container-mounts.ts';
import type { PodDirectories } from '../volumes/pod-directories.ts';
import { createImageAccountsReader } from './accounts.ts';
import { buildContainerConfig, type LogRotation } from './config.ts';
import { createContainerOnce, takeOver } from './create-once.ts';
import { type ContainerDevices, withDevices, withDeviceVariables } from './device-settings.ts';
import { buildEnvironment } from './environment.ts';
import { targetContainerId } from './ephemeral-target.ts';
import { ContainerStartError, configError } from './errors.ts';
import { containerHash } from './hash.ts';
import type { LifecycleHooks } from './hooks.ts';
import { formatContainerName } from './identity.ts';
import { type ContainerKiller, containerFieldPath } from './kill.ts';
import type { LogLinks } from './log-links.ts';
import type { MountedVolume } from './mounts.ts';
import { formatImageId } from './observe.ts';
import { chooseSeccomp, readSeccompProfile } from './seccomp.ts';
import type { StartSlots } from './start-slots.ts';

export interface LauncherOptions {
  nodeName: string;
  nodeIps: string[];
  log: LogRotation;
  seccompDefault: boolean;
  /** `<root>/seccomp`: where Localhost profiles are. */
  seccompDirectory: string;
  engineFeatures(): EngineFeatures;
}

export interface LauncherDependencies {
  docker: DockerEngine;
  images: Images;
  resources: PodResources;
  runtime: RuntimeCache;
  directories: PodDirectories;
  logLinks: LogLinks;
  hooks: LifecycleHooks;
  killer: ContainerKiller;
  slots: StartSlots;
  /** What was given to each container that has started. */
  allocations: Pick<Allocations, 'recordActuated'>;
  mounts: ContainerMounts;
  config?: ConfigSources;
  services?: ServiceEnvironment;
  /** Absent: containers have no devices of plugins. */
  devices?: Pick<ContainerDevices, 'prepare'>;
  events: EventSink;
  metrics: AgentMetrics;
  clock: Clock;
}

export interface CreateRequest {
  pod: Pod;
  container: Container;
  start: ContainerStart;
  sandboxId: string;
  podIps: string[];
  volumes: ReadonlyMap<string, MountedVolume>;
}

/** Makes and starts single containers. Both throw ContainerStartError, whose reason is the status's waiting reason. */
export interface ContainerLauncher {
  /** Image, configuration, create; resolves to the id. */
  create(request: CreateRequest, signal: AbortSignal): Promise<string>;
  /** Start and postStart. */
  start(request: CreateRequest, id: string, signal: AbortSignal): Promise<void>;
}

/** As the metrics name the sorts of containers. */
const CONTAINER_TYPES = { init: 'init_container', regular: 'container', ephemeral: 'ephemeral_container' } as const;

export function createContainerLauncher(options: LauncherOptions, deps: LauncherDependencies): ContainerLauncher {
  const { docker, resources, runtime, events, metrics, clock } = deps;
  const accounts = createImageAccountsReader(options.nodeName, docker);

  /** What the kernel says of its first process, without a call to the Engine. */
  async function userOf(pod: Pod, id: string) {
    const [pid] = await resources.containerProcesses(pod, id).catch(() => []);
    return pid === undefined ? undefined : await readProcessUser(pid, id);
  }

  /** What the Engine cannot be told; the pod's own cgroup holds in any case. */
  async function limit(pod: Pod, container: Container, id: string): Promise<void> {
    try {
      await resources.limitContainer(pod, container.name, id);
    } catch (error) {
      const message = `Container runs without all of its limits: ${(error as Error).message}`;
      events.event(pod, 'Warning', 'FailedContainerLimits', message, containerFieldPath(pod, container.name));
    }
  }

  /** The host file behind the termination message path, writable by whatever user the container has. */
  async function terminationMessageFile(pod: Pod, container: Container): Promise<string> {
    const directory = deps.directories.container(pod.metadata.uid, container.name);
    const file = join(directory, randomBytes(4).toString('hex'));
    await mkdir(directory, { recursive: true, mode: 0o750 });
    await writeFile(file, '');
    await chmod(file, 0o666);
    return file;
  }

  /** The others of its pod were looked at when it was admitted. */
  function refuseEphemeral(pod: Pod, container: Container): void {
    const alone = { ...pod, spec: { ...pod.spec, ephemeralContainers: [container as EphemeralContainer] } };
    const refusal = refuseUnsupported(alone, options.engineFeatures());
    if (refusal) throw configError(refusal.message);
  }

  /** The text of a Localhost profile; none of the others has one. */
  async function seccompProfileOf(pod: Pod, container: Container): Promise<string | undefined> {
    const choice = chooseSeccomp(pod, container, options.seccompDefault);
    return choice.type === 'Localhost' ? readSeccompProfile(options.seccompDirectory, choice.profile) : undefined;
  }

  async function environment({ pod, container, podIps, volumes }: CreateRequest): Promise<ReadonlyMap<string, string>> {
    const { variables, invalid } = await buildEnvironment(
      {
        pod,
        container,
        addresses: { podIps: pod.spec.hostNetwork ? options.nodeIps : podIps, hostIps: options.nodeIps },
        allocatable: resources.nodeAllocatable(),
      },
      { config: deps.config, services: deps.services, volumes },
    );
    for (const { source, keys } of invalid)
      events.event(
        pod,
        'Warning',
        'InvalidEnvironmentVariableNames',
        `Keys [${keys.join(', ')}] from the EnvFrom ${source} were skipped since they are considered invalid environment variable names.`,
      );
    return variables;
  }

  /** A run that was published and that nobody here knows of: if the Engine has it all the same, it is taken over. */
  async function assertLost({ pod, container, start }: CreateRequest, signal: AbortSignal): Promise<void> {
    const { uid: podUid, name: podName, namespace: podNamespace = 'default' } = pod.metadata;
    const attempt = start.attempt - 1;
    const name = formatContainerName({ container: container.name, podName, podNamespace, podUid, attempt });
    await takeOver(deps, name, signal);
  }

  return {
    async create(request, signal) {
      const { pod, container, start, sandboxId } = request;
      if (start.kind === 'ephemeral') refuseEphemeral(pod, container);
      if (start.isAfterLoss) await assertLost(request, signal);
      const pidTargetId = targetContainerId(container, runtime.pod(pod.metadata.uid));
      const image = await deps.images.ensure(pod, container, signal);
      const devices = await deps.devices?.prepare(pod, container);
      const [variables, terminationMessage, seccompProfile] = await Promise.all([
        environment(request).then((own) => withDeviceVariables(own, devices)),
        terminationMessageFile(pod, container),
        seccompProfileOf(pod, container),
      ]);
      const { uid, name: podName, namespace = 'default' } = pod.metadata;
      const identity = {
        container: container.name,
        podName,
        podNamespace: namespace,
        podUid: uid,
        attempt: start.attempt,
      };
      const mounts = await deps.mounts.prepare({
        pod,
        container,
        volumes: request.volumes,
        variables,
        files: {
          hosts: deps.directories.hosts(uid),
          resolvConf: deps.directories.resolvConf(uid),
          terminationMessage,
        },
      });
      const basic = buildContainerConfig({
        pod,
        container,
        nodeName: options.nodeName,
        sandboxId,
        pidTargetId,
        attempt: start.attempt,
        image,
        variables,
        mounts,
        logPath: deps.logLinks.pathOf(pod, container.name, start.attempt),
        cgroupParent: resources.cgroupParent(pod),
        resources: resources.containerResources(pod, container.name),
        oomScoreAdj: resources.oomScoreAdj(pod, container.name),
        security: { seccompDefault: options.seccompDefault, seccompProfile },
        log: options.log,
      });
      try {
        const config = await accounts.complete(withDevices(basic, devices), pod, container, image);
        const { id } = await deps.slots.run('container', () =>
          metrics.runtimeOperation('create_container', () =>
            createContainerOnce(deps, formatContainerName(identity), config, signal),
          ),
        );
        runtime.recordContainer(identity, {
          id,
          name: container.name,
          state: 'created',
          createdAtMs: clock.nowMs(),
          oomKilled: false,
          image: container.image ?? '',
          imageId: formatImageId(image.id, image.repoDigests, container.image),
          restartCount: start.attempt,
          hash: containerHash(container),
          sandboxId,
          logPath: deps.logLinks.pathOf(pod, container.name, start.attempt),
        });
        events.event(pod, 'Normal', 'Created', 'Container created', containerFieldPath(pod, container.name));
        return id;
      } catch (error) {
        signal.throwIfAborted();
        if (error instanceof ContainerStartError) throw error;
        throw new ContainerStartError('CreateContainerError', dockerMessage(error), { cause: error });
      }
    },

    async start({ pod, container, start, podIps }, id, signal) {
      const type = CONTAINER_TYPES[start.kind];
      const fieldPath = containerFieldPath(pod, container.name);
      const postStart = container.lifecycle?.postStart;
      // The Engine's own event may come before the answer.
      if (postStart) runtime.recordHook(id, true);
      try {
        // The links behind it, as upstream, and of one that failed too: shippers that look at a link once, when it is made, must find its file.
        await deps.slots
          .run('container', () => metrics.runtimeOperation('start_container', () => docker.startContainer(id, signal)))
          .finally(() => deps.logLinks.ensure(pod, container.name, start.attempt, id));
      } catch (error) {
        runtime.recordHook(id, false);
        signal.throwIfAborted();
        metrics.containerStarted(type, 'RunContainerError');
        await runtime.refresh(id);
        // It counts as a run that has ended: from here on the crash back-off decides.
        throw new ContainerStartError('RunContainerError', dockerMessage(error), { cause: error, retryAfterMs: 0 });
      }
      const [user] = await Promise.all([userOf(pod, id), limit(pod, container, id)]);
      runtime.recordContainerStarted(id, clock.nowMs(), user);
      if (start.kind !== 'ephemeral')
        deps.allocations.recordActuated(pod.metadata.uid, container.name, container.resources ?? {});
      metrics.containerStarted(type);
      events.event(pod, 'Normal', 'Started', 'Container started', fieldPath);
      if (!postStart) return;
      try {
        await deps.hooks.run(postStart, { pod, container, containerId: id, podIp: podIps[0], signal });
      } catch (error) {
        signal.throwIfAborted();
        const message = `PostStartHook failed: ${error instanceof Error ? error.message : error}`;
        events.event(pod, 'Warning', 'FailedPostStartHook', message, fieldPath);
        const target = { id, name: container.name, message: 'FailedPostStartHook' };
        const graceSeconds = pod.spec.terminationGracePeriodSeconds ?? 30;
        await deps.killer.kill(pod, target, graceSeconds, podIps[0], signal);
        await runtime.refresh(id);
        throw new ContainerStartError('PostStartHookError', message, { cause: error, retryAfterMs: 0 });
      } finally {
        runtime.recordHook(id, false);
      }
    },
  };
}
