import type { EventRecorder } from '../../../src/kube/events.ts';
import type { ObjectReference } from '../../../src/kube/types.ts';
import { backoffDelayMs } from '../../../src/runtime/backoff.ts';
import type { Clock } from '../../../src/runtime/clock.ts';
import type { Logger } from '../../../src/runtime/log.ts';
import type { AdmitHandler } from '../../pods/admission-ports.ts';
import type { InhibitorLock, Logind } from './logind.ts';
import { ensureLogindOverride } from './logind-override.ts';
import { type ShutdownPeriod, shutdownDelayMs } from './periods.ts';
import { readShutdownState, type ShutdownState, writeShutdownState } from './state.ts';
import { type ShutdownPods, terminateByPriority } from './terminate.ts';

export interface NodeShutdownOptions {
  nodeName: string;
  /** As `computeShutdownPeriods` gives them; not empty. */
  periods: readonly ShutdownPeriod[];
  /** Times of the last shutdown are kept here. */
  stateFile: string;
  /** logind.conf.d */
  logindConfDir: string;
}

export interface NodeShutdownDeps {
  connect(): Promise<Logind>;
  pods: ShutdownPods;
  /** The node's readiness has changed. */
  refreshNode(): void;
  events: Pick<EventRecorder, 'event'>;
  showState(state: ShutdownState): void;
  clock: Clock;
  log: Logger;
}

export interface NodeShutdown {
  /** Reason against Ready while the node shuts down. */
  problem(): string | undefined;
  /** Keeps new pods out meanwhile. */
  admission: AdmitHandler;
  run(signal: AbortSignal): Promise<void>;
}

const RETRY = { initialMs: 1000, maxMs: 30_000 };
/** logind reads its configuration when it comes to it. */
const RELOAD_PATIENCE_MS = 5000;
const RELOAD_POLL_MS = 100;
const NOT_ADMITTED = { reason: 'NodeShutdown', message: 'Pod was rejected as the node is shutting down.' };

/**
 * Holds a delay lock of systemd-logind, so that a shutdown waits until the pods have ended. What logind says is the truth: it is asked at
 * each start whether a shutdown is under way, so an agent that was restarted in the middle of one goes on with it.
 */
export function createNodeShutdown(options: NodeShutdownOptions, deps: NodeShutdownDeps): NodeShutdown {
  const { clock, events } = deps;
  const log = deps.log.child({ part: 'node shutdown' });
  const { nodeName, periods } = options;
  const reference: ObjectReference = { apiVersion: 'v1', kind: 'Node', name: nodeName, uid: nodeName };
  let lock: InhibitorLock | undefined;
  let isOver = false;
  /** Of the shutdown under way; aborted when it is called off. */
  let underWay: AbortController | undefined;

  const tell = (what: string) =>
    events.event(reference, 'Normal', 'NodeShutdown', `Shutdown manager detected shutdown ${what}`);

  async function takeLock(logind: Logind): Promise<void> {
    const next = await logind.inhibit();
    // A cancellation that came with our own end: nobody would ever give this one back.
    if (isOver) return next.release();
    // The old one only now: between the two a shutdown would not wait.
    lock?.release();
    lock = next;
  }

  async function keep(state: ShutdownState): Promise<void> {
    deps.showState(state);
    await writeShutdownState(options.stateFile, state).catch((error: unknown) =>
      log.warn({ err: error }, 'the times of the shutdown could not be kept'),
    );
  }

  async function begin(signal: AbortSignal): Promise<void> {
    if (underWay) return;
    const calledOff = new AbortController();
    underWay = calledOff;
    log.warn({ pods: deps.pods.active().length }, 'the node is shutting down');
    tell('event');
    deps.refreshNode();
    const startMs = clock.nowMs();
    await keep({ startMs });
    await terminateByPriority(periods, { ...deps, log }, AbortSignal.any([signal, calledOff.signal]));
    // Called off: the lock is needed again. Stopped: the next life of this agent goes on.
    if (calledOff.signal.aborted || signal.aborted) return;
    await keep({ startMs, endMs: clock.nowMs() });
    log.warn('pods have ended: the node may shut down');
    lock?.release();
    lock = undefined;
  }

  async function callOff(logind: Logind): Promise<void> {
    if (!underWay) return;
    underWay.abort(new Error('the shutdown was called off'));
    underWay = undefined;
    log.warn('the shutdown was called off');
    tell('cancellation');
    deps.refreshNode();
    await takeLock(logind);
  }

  /** Sees to it that logind waits as long as the pods may take. */
  async function ensureDelay(logind: Logind): Promise<void> {
    const wantedMs = shutdownDelayMs(periods);
    let delayMs = await logind.inhibitDelayMs();
    if (delayMs >= wantedMs) return;
    await ensureLogindOverride(wantedMs, options.logindConfDir);
    await logind.reload();
    const deadlineMs = clock.monotonicMs() + RELOAD_PATIENCE_MS;
    while (delayMs < wantedMs && clock.monotonicMs() < deadlineMs) {
      await clock.sleep(RELOAD_POLL_MS);
      delayMs = await logind.inhibitDelayMs();
    }
    if (delayMs < wantedMs) throw new DelayTooShort(wantedMs, delayMs);
  }

  /** One connection's life. */
  async function watch(signal: AbortSignal, onReady: () => void): Promise<void> {
    const logind = await deps.connect();
    const close = () => logind.close();
    signal.addEventListener('abort', close, { once: true });
    try {
      await ensureDelay(logind).catch((error: unknown) => {
        // Less time than asked for is better than none.
        if (!(error instanceof DelayTooShort)) throw error;
        log.warn(error.message);
        events.event(reference, 'Warning', 'NodeShutdown', error.message);
      });
      const act = (isShuttingDown: boolean) =>
        (isShuttingDown ? begin(signal) : callOff(logind)).catch((error: unknown) =>
          log.error({ err: error, isShuttingDown }, 'a shutdown of the node could not be followed'),
        );
      await logind.onPrepare(act);
      if (await logind.isPreparing()) void act(true);
      else if (!underWay) await takeLock(logind);
      else await callOff(logind);
      onReady();
      const cause = await logind.closed;
      if (!signal.aborted) throw new Error(`the system bus hung up: ${cause?.message ?? 'end of stream'}`);
    } finally {
      signal.removeEventListener('abort', close);
      logind.close();
    }
  }

  return {
    problem: () => (underWay ? 'node is shutting down' : undefined),
    admission: { name: 'shutdown', admit: () => (underWay ? NOT_ADMITTED : undefined) },
    async run(signal) {
      await readShutdownState(options.stateFile).then(deps.showState, (error: unknown) =>
        log.warn({ err: error }, 'the times of the last shutdown are not known'),
      );
      let failures = 0;
      let told = '';
      while (!signal.aborted) {
        try {
          await watch(signal, () => {
            failures = 0;
            told = '';
            log.info({ periods }, 'a shutdown of the node waits for its pods');
          });
        } catch (error) {
          if (signal.aborted) break;
          const { message } = error as Error;
          if (message !== told) log.warn({ err: error }, 'shutdowns of the node do not wait for pods: will retry');
          told = message;
          await clock.sleep(backoffDelayMs(RETRY, failures++), signal).catch(() => {});
        }
      }
      isOver = true;
      lock?.release();
      lock = undefined;
    },
  };
}

class DelayTooShort extends Error {
  constructor(wantedMs: number, delayMs: number) {
    super(
      `logind waits at most ${delayMs / 1000}s for pods at a shutdown, and shutdownGracePeriod asks for ${wantedMs / 1000}s: set InhibitDelayMaxSec=${Math.ceil(wantedMs / 1000)} in logind.conf`,
    );
  }
}
