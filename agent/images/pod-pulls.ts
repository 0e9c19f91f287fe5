import { formatGoDuration } from '../../src/config/duration.ts';
import type { ImageDetail } from '../../src/docker/engine.ts';
import { DockerError } from '../../src/docker/errors.ts';
import type { BackoffOptions } from '../../src/runtime/backoff.ts';
import type { Clock } from '../../src/runtime/clock.ts';
import { ContainerStartError } from '../containers/errors.ts';
import type { AgentMetrics, EventSink } from '../pods/ports.ts';
import type { ImageAccess } from './access.ts';
import { pullCredentialsOf } from './credential-mapping.ts';
import type { ImageRequest } from './images.ts';
import type { Credential } from './keyring.ts';
import type { ImageMetrics } from './metrics.ts';
import { createPullBackoff } from './pull-backoff.ts';
import { describePullFailure } from './pull-errors.ts';
import { describeProgress, type PullSummary } from './pull-progress.ts';
import { PullError, type Puller } from './puller.ts';

export interface PodPullDependencies {
  access: ImageAccess;
  puller: Puller;
  events: EventSink;
  imageMetrics: Pick<ImageMetrics, 'pulled'>;
  metrics: Pick<AgentMetrics, 'imagePulled'>;
  clock: Clock;
}

/** Pulls as a pod sees them: events, the back-off, and the record of whose credentials were good. */
export interface PodPulls {
  /**
   * @param name with a tag or digest
   * Throws ContainerStartError: `ErrImagePull`, `RegistryUnavailable`, `ImagePullBackOff`.
   */
  pull(
    name: string,
    request: ImageRequest,
    lookUp: () => Promise<Credential[]>,
    signal: AbortSignal,
  ): Promise<ImageDetail>;
  /** Forgets the back-off of a pod. */
  forget(uid: string): void;
}

/** A long pull tells where it is about so often. */
const PROGRESS_EVENT_MS = 30_000;
/** When the Engine itself is away it is not the image's fault: no back-off grows by that. */
const ENGINE_RETRY_MS = 1000;
/** After this a status goes from ErrImagePull to ImagePullBackOff, which is what people and alerts look for. */
const FAILURE_SHOWN_MS = 2000;

export function createPodPulls(options: BackoffOptions, deps: PodPullDependencies): PodPulls {
  const { access, events, clock } = deps;
  const backoff = createPullBackoff(options, clock);

  function tell({ pod, fieldPath }: ImageRequest, type: 'Normal' | 'Warning', reason: string, message: string) {
    events.event(pod, type, reason, message, fieldPath);
  }

  async function pullAndRecord(name: string, request: ImageRequest, credentials: Credential[], signal: AbortSignal) {
    await access.pullBegins(request.image);
    try {
      return await deps.puller.pull({ image: name, credentials, onProgress: progressEvents(request) }, signal);
    } catch (error) {
      await access.pullFailed(request.image);
      throw error;
    }
  }

  function progressEvents(request: ImageRequest): (summary: PullSummary) => void {
    let toldMs = clock.monotonicMs();
    return (summary) => {
      if (clock.monotonicMs() - toldMs < PROGRESS_EVENT_MS) return;
      toldMs = clock.monotonicMs();
      tell(request, 'Normal', 'Pulling', `Pulling image "${request.image}": ${describeProgress(summary)}`);
    };
  }

  function failureOf(key: string, request: ImageRequest, error: unknown): ContainerStartError {
    const causes = error instanceof PullError ? error.errors : [error];
    const failure = describePullFailure(request.image, causes);
    tell(request, 'Warning', 'Failed', `Failed to pull image "${request.image}": ${failure.eventText}`);
    const isEngineAway = causes.every((cause) => cause instanceof DockerError && cause.kind === 'unreachable');
    if (isEngineAway)
      return new ContainerStartError(failure.reason, failure.message, { cause: error, retryAfterMs: ENGINE_RETRY_MS });
    const delayMs = backoff.failed(key, `${failure.reason}: ${failure.message}`);
    const retryAfterMs = Math.min(FAILURE_SHOWN_MS, delayMs);
    return new ContainerStartError(failure.reason, failure.message, { cause: error, retryAfterMs });
  }

  return {
    async pull(name, request, lookUp, signal) {
      const { pod, image } = request;
      const key = `${pod.metadata.uid}_${image}`;
      const waiting = backoff.waiting(key);
      if (waiting) {
        const message = `Back-off pulling image "${image}"`;
        tell(request, 'Normal', 'BackOff', message);
        throw new ContainerStartError('ImagePullBackOff', `${message}: ${waiting.message}`, {
          retryAfterMs: waiting.forMs,
        });
      }
      tell(request, 'Normal', 'Pulling', `Pulling image "${image}"`);
      const startedMs = clock.monotonicMs();
      try {
        const credentials = await lookUp();
        const { detail, usedIndex, pullMs } = await pullAndRecord(name, request, credentials, signal);
        const used = usedIndex === undefined ? undefined : credentials[usedIndex];
        await access.pullSucceeded(image, detail.id, pullCredentialsOf(used));
        backoff.succeeded(key);
        const totalMs = clock.monotonicMs() - startedMs;
        deps.imageMetrics.pulled(totalMs / 1000, detail.sizeBytes);
        deps.metrics.imagePulled(pod.metadata.uid, startedMs, startedMs + totalMs);
        // One that joined a pull under way waited for less than all of it.
        const took = `${formatGoDuration(Math.min(pullMs, totalMs))} (${formatGoDuration(totalMs)} including waiting)`;
        const message = `Successfully pulled image "${image}" in ${took}. Image size: ${detail.sizeBytes} bytes.`;
        tell(request, 'Normal', 'Pulled', message);
        return detail;
      } catch (error) {
        signal.throwIfAborted();
        throw failureOf(key, request, error);
      }
    },
    forget: (uid) => backoff.forget(`${uid}_`),
  };
}
