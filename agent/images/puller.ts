import type { DockerEngine, ImageDetail, RegistryAuth } from '../../src/docker/engine.ts';
import { DockerError, dockerMessage } from '../../src/docker/errors.ts';
import type { Clock } from '../../src/runtime/clock.ts';
import type { Logger } from '../../src/runtime/log.ts';
import type { AgentMetrics } from '../pods/ports.ts';
import type { Credential } from './keyring.ts';
import type { ImageMetrics } from './metrics.ts';
import { createPullProgress, describeProgress, type PullSummary } from './pull-progress.ts';
import { createPullRate } from './pull-rate.ts';
import { createPullSlots } from './pull-slots.ts';
import { createSharedWork } from './shared-work.ts';

export interface PullerOptions {
  /** `maxParallelImagePulls`; 1 when pulls are serialized. */
  maxParallelPulls: number;
  /** `registryPullQPS` (0: no limit) and `registryBurst`. */
  pullsPerSecond: number;
  pullBurst: number;
  /** A pull that is not unpacking and says nothing for so long is broken off. */
  progressDeadlineMs: number;
}

export interface PullerDependencies {
  docker: Pick<DockerEngine, 'inspectImage' | 'pullImage'>;
  metrics: Pick<AgentMetrics, 'runtimeOperation'>;
  imageMetrics: ImageMetrics;
  clock: Clock;
  log: Logger;
}

export interface PullOutcome {
  detail: ImageDetail;
  /** Which of the credentials opened the registry; undefined: it was asked without any. */
  usedIndex: number | undefined;
  /** The pull itself, without the wait for its turn. */
  pullMs: number;
}

/** All credentials failed; one error for each. */
export class PullError extends Error {
  override readonly name = 'PullError';
  readonly errors: readonly unknown[];
  constructor(image: string, errors: readonly unknown[]) {
    super(`pull of ${image} failed: ${errors.map(dockerMessage).join('; ')}`, { cause: errors[0] });
    this.errors = errors;
  }
}

export interface Puller {
  /**
   * Pulls with the first of the credentials that works, without any when there are none. Who asks for the same image with
   * the same credentials meanwhile shares the pull. Throws PullError, or the signal's reason.
   */
  pull(
    request: { image: string; credentials: readonly Credential[]; onProgress?: (summary: PullSummary) => void },
    signal: AbortSignal,
  ): Promise<PullOutcome>;
}

/** How often a pull that goes on is looked at, and told about. */
const REPORT_MS = 10_000;

export function createPuller(options: PullerOptions, deps: PullerDependencies): Puller {
  const { docker, clock, log, imageMetrics } = deps;
  const slots = createPullSlots(options.maxParallelPulls);
  const rate = createPullRate({ perSecond: options.pullsPerSecond, burst: options.pullBurst }, clock);
  const share = createSharedWork<PullOutcome>();
  /** When any pull has last made progress. */
  let lastHeardMs = Number.NEGATIVE_INFINITY;
  const listeners = new Map<string, Set<(summary: PullSummary) => void>>();

  async function run(key: string, image: string, credentials: readonly Credential[], signal: AbortSignal) {
    const waited = imageMetrics.pullWaits();
    const release = await slots.acquire(signal).finally(waited);
    try {
      const startedMs = clock.monotonicMs();
      if (!rate.tryTake()) throw new PullError(image, [new Error('pull QPS exceeded')]);
      const usedIndex = await tryAll(key, image, credentials, signal);
      const detail = await docker.inspectImage(image, signal);
      return { detail, usedIndex, pullMs: clock.monotonicMs() - startedMs };
    } finally {
      release();
    }
  }

  async function tryAll(key: string, image: string, credentials: readonly Credential[], signal: AbortSignal) {
    const failures: unknown[] = [];
    const attempts: (number | undefined)[] = credentials.length > 0 ? [...credentials.keys()] : [undefined];
    for (const index of attempts) {
      try {
        const auth = index === undefined ? undefined : credentials[index]!.auth;
        await deps.metrics.runtimeOperation('pull_image', () => watchedPull(key, image, auth, signal));
        return index;
      } catch (error) {
        signal.throwIfAborted();
        failures.push(error);
        // An Engine that is away is so for the next credentials too.
        if (error instanceof DockerError && error.kind === 'unreachable') break;
      }
    }
    throw new PullError(image, failures);
  }

  /** One call of the Engine, broken off when it makes no progress. */
  async function watchedPull(key: string, image: string, auth: RegistryAuth | undefined, signal: AbortSignal) {
    const stall = new AbortController();
    const progress = createPullProgress();
    const done = imageMetrics.pullRuns(image);
    let heardMs = clock.monotonicMs();
    let reportedMs = heardMs;
    let cancelTimer = () => {};
    const look = () => {
      const now = clock.monotonicMs();
      const summary = progress.summary();
      // Its turn comes when another pull, which goes on, makes room.
      const isWaitingForOthers = summary.isQueued && now - lastHeardMs < options.progressDeadlineMs;
      if (!summary.isUnpacking && !isWaitingForOthers && now - heardMs >= options.progressDeadlineMs) {
        const text = `no progress within ${options.progressDeadlineMs / 1000} s, pull cancelled (last: ${summary.lastLine})`;
        log.warn({ image }, text);
        imageMetrics.pullStalled();
        stall.abort(new Error(text));
        return;
      }
      if (now - reportedMs >= REPORT_MS) {
        reportedMs = now;
        log.info({ image, last: summary.lastLine }, `pulling image: ${describeProgress(summary)}`);
        for (const listener of listeners.get(key) ?? []) listener(summary);
      }
      cancelTimer = clock.after(Math.min(REPORT_MS, options.progressDeadlineMs), look);
    };
    cancelTimer = clock.after(Math.min(REPORT_MS, options.progressDeadlineMs), look);
    let succeeded = false;
    try {
      const onProgress = (line: Parameters<typeof progress.add>[0]) => {
        heardMs = clock.monotonicMs();
        lastHeardMs = heardMs;
        const newBytes = progress.add(line);
        if (newBytes > 0) imageMetrics.downloaded(image, newBytes, progress.summary());
      };
      await docker.pullImage(image, { ...(auth && { auth }), onProgress }, AbortSignal.any([signal, stall.signal]));
      succeeded = true;
    } finally {
      cancelTimer();
      done(succeeded);
    }
  }

  return {
    async pull({ image, credentials, onProgress }, signal) {
      const key = [image, ...credentials.map(({ hash }) => hash)].join('\n');
      const mine = new Set([...(listeners.get(key) ?? []), ...(onProgress ? [onProgress] : [])]);
      listeners.set(key, mine);
      try {
        return await share(key, (all) => run(key, image, credentials, all), signal);
      } finally {
        if (onProgress) listeners.get(key)?.delete(onProgress);
        if (listeners.get(key)?.size === 0) listeners.delete(key);
      }
    },
  };
}
