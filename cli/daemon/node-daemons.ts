import { join } from 'node:path';
import type { ConfigFlag } from '../../src/config/load.ts';
import { createMetrics } from '../../src/runtime/metrics.ts';
import { runAll } from '../../src/runtime/run-all.ts';
import { cidrsOf } from '../cluster/addresses.ts';
import { removeNetwork, removePods } from '../cluster/remove-node.ts';
import type { CniFlags } from '../cni/flags.ts';
import { createSteps } from '../output/steps.ts';
import { checkRoot } from '../preflight/checks.ts';
import { detectNodeIp, isOutside } from '../preflight/node-ip.ts';
import { nodeNameOf } from '../roots/node-client.ts';
import { removeServiceRules } from '../roots/service-rules.ts';
import {
  ensureIdentity,
  type NodeDaemonFlags,
  nodeNetwork,
  prepareAgent,
  prepareOverlay,
} from '../roots/standalone.ts';
import { prepareProxy } from '../roots/standalone-proxy.ts';
import { buildInfo } from '../version.ts';
import type { NodeAddresses } from './node-address.ts';
import { serve, type Verbose } from './serve.ts';

export function runAgentDaemon(flags: NodeDaemonFlags & Verbose): Promise<void> {
  return serve(
    'agent',
    flags,
    async (context, signal) => {
      const identity = await ensureIdentity(flags, context, signal);
      return prepareAgent(flags, identity, context, signal);
    },
    addressFinder(flags),
  );
}

/** Of a node that was not told its addresses (`--node-ip`): as the agent finds it. */
function addressFinder({
  nodeIp,
  clusterCidr,
  serviceCidr,
}: NodeDaemonFlags): (() => Promise<NodeAddresses>) | undefined {
  if (nodeIp !== undefined) return undefined;
  const othersCidrs = [...cidrsOf(clusterCidr), ...cidrsOf(serviceCidr)];
  return async () => ({ nodeIps: [await detectNodeIp(isOutside(othersCidrs))], othersCidrs });
}

export interface NodeFlags extends NodeDaemonFlags {
  /** Where the proxy and the routes have credentials of their own, as a real cluster demands. */
  proxyKubeconfig?: string;
  overlayKubeconfig?: string;
  /** Absent: what the net-conf.json says, else host-gw. */
  backend?: string;
  /** flannel's net-conf.json. */
  netConfigPath?: string;
  proxyHealthz?: string;
  proxyMetrics?: string;
}

/** Agent, proxy and routes with the node's credentials, unless the proxy (by flag or its configuration) and the routes have others. */
export function runNodeDaemon(flags: NodeFlags & Verbose): Promise<void> {
  return serve(
    'node',
    flags,
    async (context, signal) => {
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
      // One registry for both: the overlay's figures are read where the agent's are, with the same rights.
      const metrics = createMetrics(buildInfo());
      const overlay = await prepareOverlay(flags, identity, context, metrics);
      const agent = await prepareAgent(flags, identity, context, signal, overlay, metrics);
      return { ...agent, ...proxy, ...(overlay && { overlay }) };
    },
    addressFinder(flags),
  );
}

/** `berth node --cleanup`: takes away what the node brought onto the host; the Engine stays. */
export async function cleanUpNode(
  flags: Pick<
    NodeFlags,
    'nodeName' | 'dockerEndpoint' | 'rootDir' | 'podLogsDir' | 'clusterCidr' | 'serviceCidr' | 'bridge' | 'overrides'
  > &
    CniFlags,
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
    cni: flags,
  };
  const steps = createSteps();
  await runAll('berth node --cleanup', [
    () => steps.run('pods removed', () => removePods(places)),
    () => steps.run('service rules removed', () => removeServiceRules()),
    () => steps.run('pod network removed, sysctls restored', () => removeNetwork(places)),
  ]);
}
