import type { Clock } from '../../src/runtime/clock.ts';
import { Gauge, type Registry } from '../../src/runtime/metrics.ts';

/** What the node's start is measured by; each call counts the first time only. */
export interface NodeStartup {
  /** The agent is about to register its node. */
  attempted(): void;
  /** A Node object was made. Without this one nothing is measured: an agent that came back is no start of a node. */
  registered(): void;
  /** The node was seen to be Ready. */
  ready(): void;
}

const PREFIX = 'kubelet_node_startup_';

/**
 * kubelet_node_startup_*_seconds: from the host's boot to a Ready node.
 *
 * @param bootToStartSeconds how long the host was up when the agent began
 */
export function createNodeStartup(bootToStartSeconds: number, registry: Registry, clock: Clock): NodeStartup {
  const gauge = (name: string, help: string) => new Gauge({ name: `${PREFIX}${name}`, help, registers: [registry] });
  const preKubelet = gauge(
    'pre_kubelet_duration_seconds',
    'Duration in seconds of node startup before kubelet starts.',
  );
  const preRegistration = gauge(
    'pre_registration_duration_seconds',
    'Duration in seconds of node startup before registration.',
  );
  const registration = gauge(
    'registration_duration_seconds',
    'Duration in seconds of node startup during registration.',
  );
  const postRegistration = gauge(
    'post_registration_duration_seconds',
    'Duration in seconds of node startup after registration.',
  );
  const whole = gauge('duration_seconds', 'Duration in seconds of node startup in total.');
  const startMs = clock.monotonicMs();
  let attemptMs: number | undefined;
  let registeredMs: number | undefined;
  let isReady = false;
  return {
    attempted() {
      attemptMs ??= clock.monotonicMs();
    },
    registered() {
      registeredMs ??= clock.monotonicMs();
    },
    ready() {
      if (isReady) return;
      isReady = true;
      if (attemptMs === undefined || registeredMs === undefined) return;
      const readyMs = clock.monotonicMs();
      preKubelet.set(bootToStartSeconds);
      preRegistration.set((attemptMs - startMs) / 1000);
      registration.set((registeredMs - attemptMs) / 1000);
      postRegistration.set((readyMs - registeredMs) / 1000);
      whole.set(bootToStartSeconds + (readyMs - startMs) / 1000);
    },
  };
}
