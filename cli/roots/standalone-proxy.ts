import { join } from 'node:path';
import { type HostState, openHostState } from '../../cni/node/host-state.ts';
import type { ConfigFlag } from '../../src/config/load.ts';
import { type ClientConfig, createKubeClient, type KubeClient } from '../../src/kube/client.ts';
import { loadInClusterConfig } from '../../src/kube/in-cluster.ts';
import { createMetrics, type Registry } from '../../src/runtime/metrics.ts';
import type { Runnable } from '../../src/runtime/run-together.ts';
import { UserError } from '../output/failure.ts';
import { buildInfo } from '../version.ts';
import type { ProgramContext } from './context.ts';
import { clientFrom, type NodeIdentityFiles, nodeNameOf } from './node-client.ts';
import { loadProxyConfig } from './proxy-config.ts';
import { createDebugAccess } from './proxy-debug-access.ts';
import { createProxyPart } from './proxy-part.ts';

export interface ProxyFlags {
  config?: string;
  kubeconfig?: string;
  nodeName?: string;
  overrides: ConfigFlag[];
  /** Of the node that the proxy may share its kubeconfig with. */
  identity?: NodeIdentityFiles;
}

/** The service proxy. Its kubeconfig comes from the flag, else from clientConnection in its configuration file; a pod needs none. */
export function prepareProxy(
  flags: ProxyFlags,
  sysctls: Pick<HostState['sysctls'], 'read' | 'write'>,
  context: ProgramContext,
): Record<string, Runnable> {
  const config = loadProxyConfig(flags, (message) => context.log.warn(message));
  const kubeconfig = flags.kubeconfig ?? (config.clientConnection.kubeconfig || undefined);
  const nodeName = nodeNameOf({ nodeName: flags.nodeName ?? (config.hostnameOverride || undefined) });
  const metrics = createMetrics(buildInfo());
  const { client, config: api } = kubeconfig
    ? clientFrom(kubeconfig, 'kube-proxy', context, metrics, flags.identity)
    : clientInPod(metrics);
  const debugAccess = createDebugAccess(api, context.clock);
  const shown = flags.overrides.map(({ flag, value }) => [flag.slice(2), String(value)]);
  const part = { nodeName, config, client, metrics, debugAccess, sysctls, flags: Object.fromEntries(shown) };
  return { proxy: createProxyPart(part, context) };
}

/** As the pod of a DaemonSet, with its service account's credentials. */
function clientInPod(metrics: Registry): { client: KubeClient; config: ClientConfig } {
  const config = loadInClusterConfig(process.env, { userAgent: 'kube-proxy' });
  if (!config)
    throw new UserError(
      'the proxy needs an API server: give --kubeconfig FILE, or clientConnection.kubeconfig in --config',
    );
  return { client: createKubeClient(config, { metrics }), config };
}

/** What a proxy on its own remembers of the host. */
export function proxyHostState(rootDir: string): HostState {
  return openHostState({ stateFile: join(rootDir, 'network.json') });
}
