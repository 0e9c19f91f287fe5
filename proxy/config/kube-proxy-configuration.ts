import {
  address,
  addressAndPort,
  anything,
  boolean,
  type ConfigOf,
  choice,
  deferred,
  duration,
  fraction,
  ignored,
  integer,
  isCidr,
  list,
  switches,
  text,
} from '../../src/config/field.ts';
import type { ConfigDefinition } from '../../src/config/load.ts';
import { SCHEDULERS } from '../ipvs/schedulers.ts';

const SECOND_MS = 1000;
const MINUTE_MS = 60 * SECOND_MS;
const HOUR_MS = 60 * MINUTE_MS;

/** Fields of `kubeproxy.config.k8s.io/v1alpha1`, with upstream's names and defaults (kube-proxy 1.36). */
const fields = {
  bindAddress: address('0.0.0.0'),
  // The family of the two addresses follows bindAddress; see resolveBindAddresses.
  healthzBindAddress: addressAndPort('', 10256),
  metricsBindAddress: addressAndPort('', 10249),
  bindAddressHardFail: boolean(false),
  enableProfiling: boolean(false),
  showHiddenMetricsForVersion: ignored(text()),
  hostnameOverride: text(),
  clientConnection: {
    kubeconfig: text(),
    // JSON is spoken, and nothing but events is written: there is nothing to hold back.
    contentType: ignored(text('application/vnd.kubernetes.protobuf')),
    acceptContentTypes: ignored(text()),
    qps: ignored(fraction(5)),
    burst: ignored(integer(10, { zeroIsUnset: true })),
  },
  // auto is Berth's own: the best that the host proves to have. Whether the host can run one that is named shows at the start.
  mode: choice('iptables', ['auto', 'iptables', 'ipvs', 'nftables', 'userspace']),
  clusterCIDR: text(),
  detectLocalMode: choice('ClusterCIDR', ['ClusterCIDR', 'NodeCIDR', 'BridgeInterface', 'InterfaceNamePrefix']),
  detectLocal: {
    bridgeInterface: text(),
    interfaceNamePrefix: text(),
  },
  nodePortAddresses: list({ accepts: 'CIDRs, or exactly ["primary"]' }),
  oomScoreAdj: integer(-999, { min: -1000, max: 1000 }),
  // Watches here lose nothing that a second look would find.
  configSyncPeriod: ignored(duration(15 * MINUTE_MS)),
  portRange: ignored(text()),
  featureGates: deferred(switches()),
  logging: deferred(anything()),
  iptables: {
    masqueradeBit: integer(14, { max: 31 }),
    masqueradeAll: boolean(false),
    localhostNodePorts: boolean(true),
    syncPeriod: duration(30 * SECOND_MS),
    minSyncPeriod: duration(1 * SECOND_MS),
  },
  ipvs: {
    syncPeriod: duration(30 * SECOND_MS),
    minSyncPeriod: duration(0),
    scheduler: choice('rr', SCHEDULERS),
    excludeCIDRs: list(),
    strictARP: boolean(false),
    tcpTimeout: duration(0),
    tcpFinTimeout: duration(0),
    udpTimeout: duration(0),
  },
  nftables: {
    masqueradeBit: integer(14, { max: 31 }),
    masqueradeAll: boolean(false),
    syncPeriod: duration(30 * SECOND_MS),
    minSyncPeriod: duration(1 * SECOND_MS),
  },
  conntrack: {
    maxPerCore: integer(32768),
    min: integer(131072),
    tcpEstablishedTimeout: duration(24 * HOUR_MS, { zeroIsUnset: false }),
    tcpCloseWaitTimeout: duration(1 * HOUR_MS, { zeroIsUnset: false }),
    tcpBeLiberal: boolean(false),
    udpTimeout: duration(0),
    udpStreamTimeout: duration(0),
  },
  // Berth's own.
  berth: {
    externalIPCIDRs: list({ accepts: 'CIDRs', valid: isCidr, fallback: ['0.0.0.0/0', '::/0'] }),
  },
  winkernel: ignored(anything()),
  windowsRunAsService: ignored(anything()),
};

export type KubeProxyConfiguration = ConfigOf<typeof fields>;

export const kubeProxyConfiguration: ConfigDefinition<typeof fields> = {
  apiVersion: 'kubeproxy.config.k8s.io/v1alpha1',
  kind: 'KubeProxyConfiguration',
  fields,
  validate(config, refuse) {
    const cidrs = config.clusterCIDR === '' ? [] : config.clusterCIDR.split(',');
    const families = new Set(cidrs.map((cidr) => cidr.includes(':')));
    if (!cidrs.every(isCidr) || cidrs.length > 2 || families.size !== cidrs.length)
      refuse('clusterCIDR', config.clusterCIDR, 'one CIDR, or one of each IP family with a comma between');
    const { nodePortAddresses } = config;
    if (!nodePortAddresses.every(isCidr) && !(nodePortAddresses.length === 1 && nodePortAddresses[0] === 'primary'))
      refuse('nodePortAddresses', nodePortAddresses, 'a list of CIDRs, or exactly ["primary"]');
    if (config.detectLocalMode === 'BridgeInterface' && config.detectLocal.bridgeInterface === '')
      refuse('detectLocal.bridgeInterface', '', 'the name of a bridge, which detectLocalMode BridgeInterface needs');
    if (config.detectLocalMode === 'InterfaceNamePrefix' && config.detectLocal.interfaceNamePrefix === '')
      refuse('detectLocal.interfaceNamePrefix', '', 'a prefix, which detectLocalMode InterfaceNamePrefix needs');
    for (const section of ['iptables', 'ipvs', 'nftables'] as const) {
      const { minSyncPeriodMs, syncPeriodMs } = config[section];
      if (minSyncPeriodMs > syncPeriodMs)
        refuse(`${section}.minSyncPeriod`, `${minSyncPeriodMs}ms`, `at most ${section}.syncPeriod`);
    }
    if (!config.ipvs.excludeCIDRs.every(isCidr))
      refuse('ipvs.excludeCIDRs', config.ipvs.excludeCIDRs, 'a list of CIDRs');
  },
};

/** The health and metrics addresses; where the file leaves them out they are of bindAddress's family. */
export function resolveBindAddresses(config: KubeProxyConfiguration): { healthz: string; metrics: string } {
  const isV6 = config.bindAddress.includes(':');
  return {
    healthz: config.healthzBindAddress || (isV6 ? '[::]:10256' : '0.0.0.0:10256'),
    metrics: config.metricsBindAddress || (isV6 ? '[::1]:10249' : '127.0.0.1:10249'),
  };
}
