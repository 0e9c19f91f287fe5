import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { type HostState, openHostState } from '../../cni/node/host-state.ts';
import { createKubeClient, type KubeClient } from '../../src/kube/client.ts';
import { loadInClusterConfig } from '../../src/kube/in-cluster.ts';
import { createHeartbeats } from '../../src/runtime/heartbeat.ts';
import { createMetrics, type Registry } from '../../src/runtime/metrics.ts';
import type { Runnable } from '../../src/runtime/run-together.ts';
import { UserError } from '../output/failure.ts';
import { buildInfo } from '../version.ts';
import type { ProgramContext } from './context.ts';
import { clientFrom, nodeNameOf } from './node-client.ts';
import { createOverlayHealth } from './overlay-health.ts';
import { createOverlayPart } from './overlay-part.ts';
import { parseUplinkFlags, readOverlaySource, type UplinkFlags } from './overlay-settings.ts';

export const DEFAULT_NET_CONFIG = '/etc/kube-flannel/net-conf.json';

/** flanneld's flags, and ours. */
export interface OverlayFlags extends UplinkFlags {
  kubeconfig?: string;
  nodeName?: string;
  rootDir: string;
  netConfigPath?: string;
  backend?: string;
  clusterCidr: string;
  subnetFile: string;
  ipMasq: boolean;
  ipBlackholeRoute: boolean;
  iptablesForwardRules: boolean;
  /** Seconds. */
  iptablesResync: string;
  setNodeNetworkUnavailable: boolean;
  kubeAnnotationPrefix: string;
  healthzIp: string;
  /** 0: nobody listens. */
  healthzPort: string;
}

/** Three full syncs may fail to happen before the loop counts as dead. */
const LONGEST_SILENCE_MS = 40_000;

/** The overlay on its own, in flanneld's place. Checks everything that a person may have got wrong before it changes the host. */
export async function prepareStandaloneOverlay(
  flags: OverlayFlags,
  context: ProgramContext,
): Promise<Record<string, Runnable>> {
  const { log, clock } = context;
  const isImplied = flags.netConfigPath === undefined && flags.backend === undefined && existsSync(DEFAULT_NET_CONFIG);
  const netConfigPath = flags.netConfigPath ?? (isImplied ? DEFAULT_NET_CONFIG : undefined);
  const conf = readOverlaySource({ ...flags, netConfigPath }, (message) => log.warn(message));
  const uplink = { ...parseUplinkFlags(flags), nodeIps: [], preferNodeIps: false };
  const rulesResyncMs = whole('--iptables-resync', flags.iptablesResync, 1, 3600) * 1000;
  const healthzPort = whole('--healthz-port', flags.healthzPort, 0, 65535);
  const metrics = createMetrics(buildInfo());
  const heartbeats = createHeartbeats(clock);
  const overlay = await createOverlayPart(
    {
      nodeName: nodeNameOf(flags),
      client: clientOf(flags, context, metrics),
      conf,
      uplink,
      annotationPrefix: flags.kubeAnnotationPrefix,
      subnetFile: flags.subnetFile,
      ipMasq: flags.ipMasq,
      masquerade: flags.ipMasq,
      forwardRules: flags.iptablesForwardRules,
      blackholeRoute: flags.ipBlackholeRoute,
      setNetworkUnavailable: flags.setNodeNetworkUnavailable,
      takeOver: true,
      rulesResyncMs,
      metrics,
      heartbeat: heartbeats.register('overlay', LONGEST_SILENCE_MS),
    },
    context,
  );
  await forward(overlayHostState(flags.rootDir), Object.keys(conf.networks).map(Number));
  const address = `${flags.healthzIp.includes(':') ? `[${flags.healthzIp}]` : flags.healthzIp}:${healthzPort}`;
  return {
    overlay,
    ...(healthzPort > 0 && {
      'health port': createOverlayHealth({ address }, { state: overlay.state, heartbeats, metrics }),
    }),
  };
}

/** What an overlay on its own remembers of the host. */
export function overlayHostState(rootDir: string): HostState {
  return openHostState({ stateFile: join(rootDir, 'network.json') });
}

/** A node that does not forward has no pods that anybody reaches. */
async function forward(state: HostState, families: readonly number[]): Promise<void> {
  await state.record();
  const keys = [
    ...(families.includes(4) ? ['net.ipv4.ip_forward'] : []),
    ...(families.includes(6) ? ['net.ipv6.conf.all.forwarding'] : []),
  ];
  for (const key of keys) if (state.sysctls.read(key) === '0') state.sysctls.write(key, '1');
}

/** By a kubeconfig, or as the pod of a DaemonSet with its service account's credentials. */
function clientOf({ kubeconfig }: OverlayFlags, context: ProgramContext, metrics: Registry): KubeClient {
  if (kubeconfig) return clientFrom(kubeconfig, 'berth-overlay', context, metrics).client;
  const config = loadInClusterConfig(process.env, { userAgent: 'berth-overlay' });
  if (!config) throw new UserError('the overlay needs an API server: give --kubeconfig FILE');
  return createKubeClient(config, { metrics });
}

function whole(flag: string, text: string, min: number, max: number): number {
  const value = Number(text);
  if (/^\d+$/.test(text) && value >= min && value <= max) return value;
  throw new UserError(`${flag} ${text}: must be a whole number from ${min} to ${max}`);
}
