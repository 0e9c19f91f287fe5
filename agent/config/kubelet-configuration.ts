import { z } from 'zod';
import {
  address,
  anything,
  boolean,
  byteQuantity,
  type ConfigOf,
  choice,
  deferred,
  duration,
  fraction,
  ignored,
  integer,
  isCidr,
  list,
  map,
  multimap,
  objects,
  switches,
  text,
  unsupported,
  url,
} from '../../src/config/field.ts';
import type { ConfigDefinition } from '../../src/config/load.ts';
import { isQuantity } from '../../src/kube/quantity.ts';
import { allowlistProblem } from '../images/verification.ts';
import { sysctlNamespace } from '../resources/sysctls.ts';

const SECOND_MS = 1000;
const MINUTE_MS = 60 * SECOND_MS;
const HOUR_MS = 60 * MINUTE_MS;
const MIB = 1024 * 1024;

/** Thresholds that hold where evictionHard is absent (kubelet on Linux). */
const DEFAULT_EVICTION_HARD = {
  'memory.available': '100Mi',
  'nodefs.available': '10%',
  'nodefs.inodesFree': '5%',
  'imagefs.available': '15%',
  'imagefs.inodesFree': '5%',
};

const taint = z.strictObject({
  key: z.string(),
  value: z.string().optional(),
  effect: z.enum(['NoSchedule', 'PreferNoSchedule', 'NoExecute']),
  timeAdded: z.string().optional(),
});

const sourcesAndPods = {
  enableServer: unsupported(boolean(true)),
  staticPodPath: text(),
  syncFrequency: duration(1 * MINUTE_MS),
  fileCheckFrequency: duration(20 * SECOND_MS),
  httpCheckFrequency: duration(20 * SECOND_MS),
  staticPodURL: url(['http', 'https']),
  staticPodURLHeader: multimap(),
  podLogsDir: text('/var/log/pods'),
  maxPods: integer(110, { zeroIsUnset: true }),
  podsPerCore: integer(0),
  podCIDR: text(),
  podPidsLimit: integer(-1, { min: -1 }),
  runOnce: unsupported(boolean(false)),
  enableControllerAttachDetach: unsupported(boolean(true)),
  registerNode: boolean(true),
  registerWithTaints: objects(taint, 'taints with key, value and effect'),
  nodeStatusMaxImages: integer(50, { min: -1 }),
  providerID: text(),
  volumePluginDir: deferred(text('/usr/libexec/kubernetes/kubelet-plugins/volume/exec/')),
  volumeStatsAggPeriod: deferred(duration(1 * MINUTE_MS)),
};

const server = {
  address: address('0.0.0.0'),
  port: integer(10250, { max: 65535, zeroIsUnset: true }),
  readOnlyPort: unsupported(integer(0, { max: 65535 })),
  tlsCertFile: text(),
  tlsPrivateKeyFile: text(),
  tlsCipherSuites: unsupported(list()),
  tlsCurvePreferences: unsupported(anything()),
  tlsMinVersion: unsupported(choice('VersionTLS12', ['VersionTLS10', 'VersionTLS11', 'VersionTLS12', 'VersionTLS13'])),
  // kubeadm writes true. Until rotation exists, a certificate simply stays what it is.
  rotateCertificates: deferred(boolean(false)),
  serverTLSBootstrap: unsupported(boolean(false)),
  authentication: {
    x509: { clientCAFile: text() },
    webhook: { enabled: deferred(boolean(true)), cacheTTL: deferred(duration(2 * MINUTE_MS)) },
    anonymous: { enabled: unsupported(boolean(false)) },
  },
  authorization: {
    mode: unsupported(choice('Webhook', ['Webhook', 'AlwaysAllow'])),
    webhook: {
      cacheAuthorizedTTL: deferred(duration(5 * MINUTE_MS)),
      cacheUnauthorizedTTL: deferred(duration(30 * SECOND_MS)),
    },
  },
  healthzPort: integer(10248, { max: 65535 }),
  healthzBindAddress: address('127.0.0.1'),
  enableDebuggingHandlers: unsupported(boolean(true)),
  enableContentionProfiling: ignored(boolean(false)),
  enableProfilingHandler: deferred(boolean(true)),
  enableDebugFlagsHandler: deferred(boolean(true)),
  enableSystemLogHandler: deferred(boolean(true)),
  enableSystemLogQuery: unsupported(boolean(false)),
  streamingConnectionIdleTimeout: duration(4 * HOUR_MS),
  showHiddenMetricsForVersion: ignored(text()),
  tracing: deferred(anything()),
  logging: deferred(anything()),
};

const images = {
  registryPullQPS: integer(5),
  registryBurst: integer(10, { zeroIsUnset: true }),
  // True, unless maxParallelImagePulls is above 1.
  serializeImagePulls: boolean<boolean | undefined>(undefined),
  maxParallelImagePulls: integer(undefined, { min: 1 }),
  imageMinimumGCAge: deferred(duration(2 * MINUTE_MS)),
  imageMaximumGCAge: deferred(duration(0)),
  imageGCHighThresholdPercent: deferred(integer(85, { max: 100 })),
  imageGCLowThresholdPercent: deferred(integer(80, { max: 100 })),
  imagePullCredentialsVerificationPolicy: choice('NeverVerifyPreloadedImages', [
    'NeverVerify',
    'NeverVerifyPreloadedImages',
    'NeverVerifyAllowlistedImages',
    'AlwaysVerify',
  ]),
  preloadedImagesVerificationAllowlist: list({
    accepts: 'whole image names without tags, or prefixes such as "registry.example/team/*"',
    valid: (pattern) => allowlistProblem(pattern) === undefined,
  }),
};

const api = {
  eventRecordQPS: integer(50),
  eventBurst: integer(100, { zeroIsUnset: true }),
  kubeAPIQPS: deferred(integer(50)),
  kubeAPIBurst: deferred(integer(100, { zeroIsUnset: true })),
  contentType: deferred(text('application/vnd.kubernetes.protobuf')),
  nodeStatusUpdateFrequency: duration(10 * SECOND_MS),
  // Absent: nodeStatusUpdateFrequency where that is set, else 5 min. See nodeStatusReportFrequencyMs().
  nodeStatusReportFrequency: duration(0),
  nodeLeaseDurationSeconds: integer(40, { zeroIsUnset: true }),
  configMapAndSecretChangeDetectionStrategy: choice('Watch', ['Watch', 'Cache', 'Get']),
};

const dns = {
  clusterDomain: text(),
  clusterDNS: list(),
  resolvConf: text('/etc/resolv.conf'),
  hairpinMode: deferred(choice('promiscuous-bridge', ['promiscuous-bridge', 'hairpin-veth', 'none'])),
  makeIPTablesUtilChains: deferred(boolean(true)),
  iptablesMasqueradeBit: deferred(integer(14, { max: 31 })),
  iptablesDropBit: deferred(integer(15, { max: 31 })),
};

const resources = {
  cgroupRoot: text(),
  cgroupsPerQOS: unsupported(boolean(true)),
  cgroupDriver: choice('cgroupfs', ['cgroupfs', 'systemd']),
  kubeletCgroups: deferred(text()),
  systemCgroups: deferred(text()),
  systemReserved: map(),
  kubeReserved: map(),
  systemReservedCgroup: unsupported(text()),
  kubeReservedCgroup: unsupported(text()),
  reservedSystemCPUs: unsupported(text()),
  reservedMemory: unsupported(anything()),
  enforceNodeAllocatable: unsupported(list({ fallback: ['pods'] })),
  qosReserved: unsupported(map()),
  cpuManagerPolicy: unsupported(choice('none', ['none', 'static'])),
  cpuManagerPolicyOptions: unsupported(map()),
  cpuManagerReconcilePeriod: deferred(duration(10 * SECOND_MS)),
  memoryManagerPolicy: unsupported(choice('None', ['None', 'Static'])),
  topologyManagerPolicy: unsupported(choice('none', ['none', 'best-effort', 'restricted', 'single-numa-node'])),
  topologyManagerScope: unsupported(choice('container', ['container', 'pod'])),
  topologyManagerPolicyOptions: unsupported(map()),
  cpuCFSQuota: boolean(true),
  cpuCFSQuotaPeriod: duration(100),
  maxOpenFiles: deferred(integer(1_000_000, { zeroIsUnset: true })),
  oomScoreAdj: deferred(integer(-999, { min: -1000, max: 1000 })),
  failSwapOn: deferred(boolean(true)),
  memorySwap: { swapBehavior: unsupported(choice('NoSwap', ['NoSwap', 'LimitedSwap'])) },
  memoryThrottlingFactor: deferred(fraction(0.9)),
  memoryReservationPolicy: unsupported(choice('None', ['None', 'TieredReservation', 'HardReservation'])),
  singleProcessOOMKill: deferred(boolean(false)),
  failCgroupV1: deferred(boolean(true)),
  protectKernelDefaults: unsupported(boolean(false)),
  kernelMemcgNotification: deferred(boolean(false)),
  allowedUnsafeSysctls: list(),
  seccompDefault: boolean(false),
  localStorageCapacityIsolation: deferred(boolean(true)),
  userNamespaces: { idsPerPod: deferred(integer(65536)) },
};

const evictionLogsAndShutdown = {
  evictionHard: unsupported(map(DEFAULT_EVICTION_HARD)),
  evictionSoft: unsupported(map()),
  evictionSoftGracePeriod: unsupported(map()),
  evictionPressureTransitionPeriod: deferred(duration(5 * MINUTE_MS)),
  evictionMaxPodGracePeriod: unsupported(integer(0)),
  evictionMinimumReclaim: unsupported(map()),
  mergeDefaultEvictionSettings: deferred(boolean(false)),
  containerLogMaxSize: byteQuantity(10 * MIB),
  containerLogMaxFiles: integer(5, { min: 2 }),
  containerLogMaxWorkers: deferred(integer(1, { min: 1 })),
  containerLogMonitorInterval: deferred(duration(10 * SECOND_MS)),
  shutdownGracePeriod: unsupported(duration(0)),
  shutdownGracePeriodCriticalPods: unsupported(duration(0)),
  shutdownGracePeriodByPodPriority: unsupported(anything()),
  crashLoopBackOff: { maxContainerRestartPeriod: duration(5 * MINUTE_MS, { minMs: SECOND_MS, zeroIsUnset: false }) },
};

const runtime = {
  // The container runtime is always Docker's Engine (--docker-endpoint); kubeadm writes a CRI socket here.
  containerRuntimeEndpoint: ignored(text()),
  imageServiceEndpoint: ignored(text()),
  runtimeRequestTimeout: duration(2 * MINUTE_MS, { minMs: SECOND_MS }),
  featureGates: deferred(switches()),
};

/** Fields of `kubelet.config.k8s.io/v1beta1`, with upstream's names and defaults (kubelet 1.36). */
const fields = {
  ...sourcesAndPods,
  ...server,
  ...images,
  ...api,
  ...dns,
  ...resources,
  ...evictionLogsAndShutdown,
  ...runtime,
};

export type KubeletConfiguration = ConfigOf<typeof fields>;

export const kubeletConfiguration: ConfigDefinition<typeof fields> = {
  apiVersion: 'kubelet.config.k8s.io/v1beta1',
  kind: 'KubeletConfiguration',
  fields,
  validate(config, refuse) {
    if ((config.tlsCertFile === '') !== (config.tlsPrivateKeyFile === ''))
      refuse('tlsPrivateKeyFile', config.tlsPrivateKeyFile, 'both tlsCertFile and tlsPrivateKeyFile, or neither');
    if (config.podCIDR !== '' && !config.podCIDR.split(',').every(isCidr))
      refuse('podCIDR', config.podCIDR, 'a CIDR, or one of each IP family with a comma between');
    if (config.crashLoopBackOff.maxContainerRestartPeriodMs > 5 * MINUTE_MS)
      refuse(
        'crashLoopBackOff.maxContainerRestartPeriod',
        `${config.crashLoopBackOff.maxContainerRestartPeriodMs}ms`,
        'from 1s to 300s',
      );
    if (config.serializeImagePulls && (config.maxParallelImagePulls ?? 1) > 1)
      refuse('maxParallelImagePulls', config.maxParallelImagePulls, '1, unless serializeImagePulls is false');
    if (
      config.preloadedImagesVerificationAllowlist.length > 0 &&
      config.imagePullCredentialsVerificationPolicy !== 'NeverVerifyAllowlistedImages'
    )
      refuse(
        'preloadedImagesVerificationAllowlist',
        config.preloadedImagesVerificationAllowlist,
        'nothing, unless imagePullCredentialsVerificationPolicy is "NeverVerifyAllowlistedImages"',
      );
    for (const pattern of config.allowedUnsafeSysctls)
      if (!sysctlNamespace(pattern))
        refuse(
          'allowedUnsafeSysctls',
          pattern,
          'sysctls of namespaces: kernel.shm*, kernel.msg*, kernel.sem, fs.mqueue.* and net.*',
        );
    if (config.clusterDNS.length > 3) refuse('clusterDNS', config.clusterDNS, 'at most 3 addresses (resolv.conf)');
    for (const name of ['systemReserved', 'kubeReserved'] as const)
      for (const [resource, amount] of Object.entries(config[name]))
        if (!isQuantity(amount)) refuse(`${name}.${resource}`, amount, 'a quantity such as "500m" or "1Gi"');
  },
};

/** How many images are pulled at once: one where pulls are serialized, as they are unless maxParallelImagePulls is above 1. */
export function parallelImagePulls(config: KubeletConfiguration): number {
  if (config.maxParallelImagePulls !== undefined) return config.maxParallelImagePulls;
  return config.serializeImagePulls === false ? Number.POSITIVE_INFINITY : 1;
}

/** How often an unchanged node status is still sent. @returns milliseconds */
export function nodeStatusReportFrequencyMs(config: KubeletConfiguration): number {
  if (config.nodeStatusReportFrequencyMs > 0) return config.nodeStatusReportFrequencyMs;
  const isSet = config.nodeStatusUpdateFrequencyMs !== kubeletConfiguration.fields.nodeStatusUpdateFrequency.fallback;
  return isSet ? config.nodeStatusUpdateFrequencyMs : 5 * MINUTE_MS;
}
