import { join } from 'node:path';
import type { Agent } from '../../agent/agent.ts';
import type { KubeletConfiguration } from '../../agent/config/kubelet-configuration.ts';
import { connectLogind } from '../../agent/node/shutdown/logind.ts';
import { LOGIND_CONF_DIR } from '../../agent/node/shutdown/logind-override.ts';
import { createNodeShutdown, type NodeShutdown } from '../../agent/node/shutdown/manager.ts';
import { createShutdownMetrics } from '../../agent/node/shutdown/metrics.ts';
import { computeShutdownPeriods } from '../../agent/node/shutdown/periods.ts';
import { SHUTDOWN_STATE_FILE } from '../../agent/node/shutdown/state.ts';
import type { ShutdownPods } from '../../agent/node/shutdown/terminate.ts';
import type { EventRecorder } from '../../src/kube/events.ts';
import type { Registry } from '../../src/runtime/metrics.ts';
import type { ProgramContext } from './context.ts';

const SYSTEM_BUS = 'unix:path=/run/dbus/system_bus_socket';

export interface NodeShutdownPartOptions {
  config: KubeletConfiguration;
  nodeName: string;
  rootDir: string;
}

/** Graceful shutdown of the node, where the configuration asks for it. The system bus is the one of every D-Bus program's environment. */
export function createNodeShutdownPart(
  { config, nodeName, rootDir }: NodeShutdownPartOptions,
  deps: {
    agent(): Pick<Agent, 'workers' | 'hasSynced'>;
    refreshNode(): void;
    /** Absent without an API server. */
    events: EventRecorder | undefined;
    registry: Registry;
  },
  { log, clock }: ProgramContext,
): NodeShutdown | undefined {
  const periods = computeShutdownPeriods({
    graceMs: config.shutdownGracePeriodMs,
    criticalMs: config.shutdownGracePeriodCriticalPodsMs,
    byPriority: config.shutdownGracePeriodByPodPriority,
  });
  const metrics = createShutdownMetrics(deps.registry);
  if (periods.length === 0 || config.featureGates['GracefulNodeShutdown'] === false) return undefined;
  const busAddress = process.env['DBUS_SYSTEM_BUS_ADDRESS'] || SYSTEM_BUS;
  return createNodeShutdown(
    { nodeName, periods, stateFile: join(rootDir, SHUTDOWN_STATE_FILE), logindConfDir: LOGIND_CONF_DIR },
    {
      ...deps,
      connect: () => connectLogind(busAddress),
      pods: shutdownPods(deps.agent),
      events: deps.events ?? { event: (_, __, reason, message) => log.info({ reason }, message) },
      showState: metrics.show,
      clock,
      log,
    },
  );
}

function shutdownPods(agent: () => Pick<Agent, 'workers' | 'hasSynced'>): ShutdownPods {
  const isOver = (state: string) => state === 'terminated' || state === 'finished';
  return {
    isComplete: () => agent().hasSynced(),
    active: () =>
      agent()
        .workers.list()
        .filter(({ isOrphan, state }) => !isOrphan && !isOver(state))
        .map(({ pod }) => pod),
    condemn: (uid, verdict) => agent().workers.condemn(uid, verdict),
    isReleased: (uid) => (agent().workers.get(uid)?.state ?? 'finished') === 'finished',
  };
}
