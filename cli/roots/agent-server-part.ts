import type { Agent } from '../../agent/agent.ts';
import { renderConfigz } from '../../agent/config/configz.ts';
import { createContainerExec } from '../../agent/containers/exec.ts';
import { createPodConnector } from '../../agent/server/pod-connection.ts';
import { createAgentServer } from '../../agent/server/server.ts';
import { countAccess } from '../../agent/stats/access.ts';
import type { StatisticsEndpoints } from '../../agent/stats/endpoints.ts';
import type { NodeMetrics } from '../../agent/stats/metrics.ts';
import type { DockerEngine } from '../../src/docker/engine.ts';
import { createContainerLogs } from '../../src/docker/log-files/container-logs.ts';
import { connectTerminals } from '../../src/docker/terminals.ts';
import type { Heartbeats } from '../../src/runtime/heartbeat.ts';
import type { Registry } from '../../src/runtime/metrics.ts';
import { KUBERNETES_VERSION } from '../version.ts';
import type { AgentPartOptions } from './agent-part-options.ts';
import type { ProgramContext } from './context.ts';
import { createNodeAccess } from './node-access.ts';

/** What /logs shows. */
const SYSTEM_LOGS = '/var/log';
/** 0 switches the idle timeout off: the longest that a timer can wait, which is 24 days. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;

/** The node's HTTPS API and health port, as the configuration wants them. */
export function createAgentServerPart(
  options: AgentPartOptions,
  deps: {
    agent: Agent;
    docker: DockerEngine;
    heartbeats: Heartbeats;
    registry: Registry;
    probeRegistry: Registry;
    endpoints: StatisticsEndpoints;
    metrics: NodeMetrics;
  },
  context: ProgramContext,
) {
  const { config } = options;
  const { agent, docker, registry } = deps;
  const { clock, log } = context;
  const terminals = connectTerminals(options.dockerEndpoint);
  const server = createAgentServer(
    {
      address: config.address,
      port: config.port,
      ...options.serving,
      clientCaPem: options.clientCaPem,
      cipherSuites: config.tlsCipherSuites,
      minVersion: config.tlsMinVersion === 'VersionTLS13' ? 'TLSv1.3' : 'TLSv1.2',
      healthzBindAddress: config.healthzBindAddress,
      ...(config.healthzPort > 0 && { healthzPort: config.healthzPort }),
    },
    {
      pods: agent.directory,
      docker: { ...docker, containerLogs: createContainerLogs({ docker, clock, log }) },
      terminals,
      exec: createContainerExec(docker),
      ...(config.enableSystemLogHandler && { systemLogs: { directory: SYSTEM_LOGS } }),
      debuggingHandlers: config.enableDebuggingHandlers,
      profilingHandler: config.enableProfilingHandler,
      debugFlagsHandler: config.enableDebugFlagsHandler,
      program: { version: KUBERNETES_VERSION, flags: options.flags ?? {} },
      refuseAccess: countAccess(registry, createNodeAccess(options, context)),
      connectToPod: createPodConnector({ pods: agent.directory, docker }),
      streamingIdleTimeoutMs: config.streamingConnectionIdleTimeoutMs || LONGEST_TIMER_MS,
      heartbeats: deps.heartbeats,
      registry,
      probeRegistry: deps.probeRegistry,
      statistics: deps.endpoints,
      metrics: deps.metrics,
      configuration: () => renderConfigz(config),
      clock,
      log,
    },
  );
  return { server, terminals };
}
