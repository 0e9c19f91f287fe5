import type { DockerEngine, ImageDetail, RegistryAuth } from '../../src/docker/engine.ts';
import { dockerMessage, isDockerNotFound } from '../../src/docker/errors.ts';
import type { Container, Pod } from '../../src/kube/types.ts';
import { backoffDelayMs } from '../../src/runtime/backoff.ts';
import type { Clock } from '../../src/runtime/clock.ts';
import { ContainerStartError } from '../containers/errors.ts';
import { containerFieldPath } from '../containers/kill.ts';
import type { AgentMetrics, ConfigSources, EventSink } from '../pods/ports.ts';
import { pullCredentials } from './credentials.ts';
import { defaultPullPolicy, parseImageName, withDefaultTag } from './name.ts';
import { createPullSlots } from './pull-slots.ts';

export interface ImageOptions {
  /** `maxParallelImagePulls`; 1 when pulls are serialized. */
  maxParallelPulls: number;
  /** 10 s and 300 s. */
  backoffInitialMs: number;
  backoffMaxMs: number;
}

export interface ImageDependencies {
  docker: Pick<DockerEngine, 'inspectImage' | 'pullImage'>;
  config?: ConfigSources;
  events: EventSink;
  metrics: Pick<AgentMetrics, 'runtimeOperation'>;
  clock: Clock;
}

export interface Images {
  /** Brings the container's image onto the node by its pull policy. Throws ContainerStartError (`ErrImagePull`, `ImagePullBackOff`, …). */
  ensure(pod: Pod, container: Container, signal: AbortSignal): Promise<ImageDetail>;
  /** Forgets the back-off of a pod. */
  forget(uid: string): void;
}

interface PullFailure {
  failures: number;
  atMs: number;
  message: string;
}

export function createImages(options: ImageOptions, deps: ImageDependencies): Images {
  const { docker, events, clock } = deps;
  const failed = new Map<string, PullFailure>();
  const slots = createPullSlots(options.maxParallelPulls);
  const backoff = { initialMs: options.backoffInitialMs, maxMs: options.backoffMaxMs };

  async function present(image: string, signal: AbortSignal): Promise<ImageDetail | undefined> {
    try {
      return await docker.inspectImage(image, signal);
    } catch (error) {
      if (isDockerNotFound(error)) return undefined;
      throw new ContainerStartError(
        'ImageInspectError',
        `Failed to inspect image "${image}": ${dockerMessage(error)}`,
        {
          cause: error,
        },
      );
    }
  }

  async function pull(pod: Pod, container: Container, image: string, signal: AbortSignal): Promise<ImageDetail> {
    const fieldPath = containerFieldPath(pod, container.name);
    const key = `${pod.metadata.uid}_${image}`;
    const earlier = failed.get(key);
    if (earlier) {
      const delayMs = backoffDelayMs(backoff, earlier.failures - 1);
      const waitMs = earlier.atMs + delayMs - clock.monotonicMs();
      if (waitMs > 0) {
        events.event(pod, 'Normal', 'BackOff', `Back-off pulling image "${image}"`, fieldPath);
        const message = `Back-off pulling image "${image}": ErrImagePull: ${earlier.message}`;
        throw new ContainerStartError('ImagePullBackOff', message, { retryAfterMs: waitMs });
      }
      if (waitMs < -2 * options.backoffMaxMs) failed.delete(key);
    }
    const askedMs = clock.monotonicMs();
    const release = await slots.acquire(signal);
    try {
      events.event(pod, 'Normal', 'Pulling', `Pulling image "${image}"`, fieldPath);
      const startedMs = clock.monotonicMs();
      await pullWithAny(await pullCredentials(pod, image, deps.config), image, signal);
      const detail = await docker.inspectImage(image, signal);
      failed.delete(key);
      const seconds = (fromMs: number) => `${((clock.monotonicMs() - fromMs) / 1000).toFixed(3)}s`;
      const message = `Successfully pulled image "${image}" in ${seconds(startedMs)} (${seconds(askedMs)} including waiting). Image size: ${detail.sizeBytes} bytes.`;
      events.event(pod, 'Normal', 'Pulled', message, fieldPath);
      return detail;
    } catch (error) {
      signal.throwIfAborted();
      const failures = (failed.get(key)?.failures ?? 0) + 1;
      const message = dockerMessage(error);
      failed.set(key, { failures, atMs: clock.monotonicMs(), message });
      events.event(pod, 'Warning', 'Failed', `Failed to pull image "${image}": ${message}`, fieldPath);
      throw new ContainerStartError('ErrImagePull', message, {
        cause: error,
        retryAfterMs: backoffDelayMs(backoff, failures - 1),
      });
    } finally {
      release();
    }
  }

  /** The first credentials that work; without any, anonymously. */
  async function pullWithAny(credentials: RegistryAuth[], image: string, signal: AbortSignal): Promise<void> {
    const failures: unknown[] = [];
    for (const auth of credentials.length > 0 ? credentials : [undefined]) {
      try {
        await deps.metrics.runtimeOperation('pull_image', () => docker.pullImage(image, auth ? { auth } : {}, signal));
        return;
      } catch (error) {
        signal.throwIfAborted();
        failures.push(error);
      }
    }
    throw failures.length === 1
      ? failures[0]
      : new AggregateError(failures, failures.map((error) => dockerMessage(error)).join('; '));
  }

  return {
    async ensure(pod, container, signal) {
      const written = container.image ?? '';
      const fieldPath = containerFieldPath(pod, container.name);
      if (!parseImageName(written)) {
        const message = `Failed to apply default image tag "${written}": couldn't parse image name "${written}": invalid reference format`;
        events.event(pod, 'Warning', 'InspectFailed', message, fieldPath);
        throw new ContainerStartError('InvalidImageName', message);
      }
      const image = withDefaultTag(written);
      const policy = container.imagePullPolicy ?? defaultPullPolicy(image);
      if (policy === 'Always') return pull(pod, container, image, signal);
      const detail = await present(image, signal);
      if (detail) {
        const message = `Container image "${written}" already present on machine and can be accessed by the pod`;
        events.event(pod, 'Normal', 'Pulled', message, fieldPath);
        return detail;
      }
      if (policy === 'IfNotPresent') return pull(pod, container, image, signal);
      const message = `Container image "${written}" is not present with pull policy of Never`;
      events.event(pod, 'Warning', 'ErrImageNeverPull', message, fieldPath);
      throw new ContainerStartError('ErrImageNeverPull', message);
    },
    forget(uid) {
      for (const key of failed.keys()) if (key.startsWith(`${uid}_`)) failed.delete(key);
    },
  };
}
