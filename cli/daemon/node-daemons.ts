import { join } from 'node:path';
import type { ConfigFlag } from '../../src/config/load.ts';
import { runAll } from '../../src/runtime/run-all.ts';
import { type Runnable, runTogether } from '../../src/runtime/run-together.ts';
import { sdNotify } from '../../src/runtime/sd-notify.ts';
import { removeNetwork, removePods } from '../cluster/remove-node.ts';
import { createSteps } from '../output/steps.ts';
import { checkRoot } from '../preflight/checks.ts';
import { abortOnSignals, createContext, type ProgramContext } from '../roots/context.ts';
import {
  createConfigWatch,
  initializeProxy,
  loadProxyConfig,
  setProxyOomScore,
  writeProxyConfig,
} from '../roots/proxy-config.ts';
import { removeServiceRules } from '../roots/service-rules.ts';
import {
  ensureIdentity,
  type NodeDaemonFlags,
  nodeNameOf,
  nodeNetwork,
  type ProxyFlags,
  prepareAgent,
  prepareOverlay,
  prepareProxy,
  proxyHostState,
} from '../roots/standalone.ts';
import { writeHeapSnapshotsOnSignal } from './heap-snapshots.ts';

type Verbose = { verbose?: boolean };

/** Builds the parts, tells systemd, and serves until SIGTERM or SIGINT. What the parts made stays on the host. */
async function serve(
  command: string,
  flags: Verbose & { rootDir?: string },
  prepare: (
    context: ProgramContext,
    signal: AbortSignal,
  ) => Promise<Record<string, Runnable>> | Record<string, Runnable>,
): Promise<void> {
  checkRoot(command);
  const context = createContext(flags);
  if (flags.rootDir) writeHeapSnapshotsOnSignal({ name: command, rootDir: flags.rootDir }, context);
  const signal = abortOnSignals();
  const parts = await prepare(context, signal);
  sdNotify('READY=1', process.env.NOTIFY_SOCKET);
  try {
    await runTogether(parts, signal);
  } finally {
    sdNotify('STOPPING=1', process.env.NOTIFY_SOCKET);
  }
}

export function runAgentDaemon(flags: NodeDaemonFlags & Verbose): Promise<void> {
  return serve('agent', flags, async (context, signal) => {
    const identity = await ensureIdentity(flags, context, signal);
    return prepareAgent(flags, identity, context, signal);
  });
}

export async function runProxyDaemon(
  flags: ProxyFlags & Verbose & { rootDir: string; cleanup?: boolean; initOnly?: boolean; writeConfigTo?: string },
): Promise<void> {
  if (flags.writeConfigTo) return writeProxyConfig(loadProxyConfig(flags), flags.writeConfigTo);
  const state = proxyHostState(flags.rootDir);
  if (flags.initOnly) {
    checkRoot('proxy');
    return initializeProxy(loadProxyConfig(flags), state.sysctls, createContext(flags));
  }
  if (!flags.cleanup) {
    return serve('proxy', flags, async (context, signal) => {
      setProxyOomScore(loadProxyConfig(flags), context.log);
      const parts = prepareProxy(flags, state.sysctls, context);
      await state.record(signal);
      return flags.config ? { ...parts, configuration: createConfigWatch(flags.config, context.clock) } : parts;
    });
  }
  checkRoot('proxy');
  await runAll('berth proxy --cleanup', [() => removeServiceRules(loadProxyConfig(flags)), state.restore]);
}

export function runOverlayDaemon(
  flags: { kubeconfig: string; nodeName?: string; backend: string; bridge: string } & Verbose,
): Promise<void> {
  return serve('overlay', flags, (context) => prepareOverlay(flags, context));
}

export interface NodeFlags extends NodeDaemonFlags {
  /** Where the proxy and the routes have credentials of their own, as a real cluster demands. */
  proxyKubeconfig?: string;
  overlayKubeconfig?: string;
  backend: string;
  proxyHealthz?: string;
  proxyMetrics?: string;
}

/** Agent, proxy and routes with the node's credentials, unless the proxy (by flag or its configuration) and the routes have others. */
export function runNodeDaemon(flags: NodeFlags & Verbose): Promise<void> {
  return serve('node', flags, async (context, signal) => {
    const identity = await ensureIdentity(flags, context, signal);
    const overrides: ConfigFlag[] = [
      ...(flags.proxyConfig ? [] : [{ flag: '--cluster-cidr', field: 'clusterCIDR', value: flags.clusterCidr }]),
      ...(flags.proxyHealthz
        ? [{ flag: '--proxy-healthz-bind-address', field: 'healthzBindAddress', value: flags.proxyHealthz }]
        : []),
      ...(flags.proxyMetrics
        ? [{ flag: '--proxy-metrics-bind-address', field: 'metricsBindAddress', value: flags.proxyMetrics }]
        : []),
    ];
    const sysctls = nodeNetwork(flags, context).sysctls;
    const proxy = prepareProxy(
      {
        config: flags.proxyConfig,
        kubeconfig: flags.proxyKubeconfig ?? (flags.proxyConfig ? undefined : flags.kubeconfig),
        nodeName: flags.nodeName,
        overrides,
        identity,
      },
      sysctls,
      context,
    );
    const overlayKubeconfig = flags.overlayKubeconfig ?? flags.kubeconfig;
    const overlay =
      flags.backend === 'none' || !overlayKubeconfig
        ? {}
        : prepareOverlay({ ...flags, kubeconfig: overlayKubeconfig, identity }, context);
    return { ...(await prepareAgent(flags, identity, context, signal)), ...proxy, ...overlay };
  });
}

/** `berth node --cleanup`: takes away what the node brought onto the host; the Engine stays. */
export async function cleanUpNode(
  flags: Pick<
    NodeFlags,
    'nodeName' | 'dockerEndpoint' | 'rootDir' | 'podLogsDir' | 'clusterCidr' | 'serviceCidr' | 'bridge' | 'overrides'
  >,
): Promise<void> {
  checkRoot('node');
  const places = {
    nodeName: nodeNameOf(flags),
    dockerEndpoint: flags.dockerEndpoint,
    cgroupRoot: flags.overrides.find((override) => override.field === 'cgroupRoot')?.value?.toString() ?? '/',
    kubeletDir: flags.rootDir,
    podLogsDir: flags.podLogsDir,
    containerLogsDir: join(flags.podLogsDir, '../containers'),
    clusterCidr: flags.clusterCidr,
    serviceCidr: flags.serviceCidr,
    bridge: flags.bridge,
    networkState: join(flags.rootDir, 'network.json'),
    cniDataDir: join(flags.rootDir, 'cni/networks'),
  };
  const steps = createSteps();
  await runAll('berth node --cleanup', [
    () => steps.run('pods removed', () => removePods(places)),
    () => steps.run('service rules removed', () => removeServiceRules()),
    () => steps.run('pod network removed, sysctls restored', () => removeNetwork(places)),
  ]);
}
