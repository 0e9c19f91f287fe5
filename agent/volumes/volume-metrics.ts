import type { Volume } from '../../src/kube/types.ts';
import { Counter, Gauge, Histogram, Registry } from '../../src/runtime/metrics.ts';
import type { VolumeKind } from './plugin.ts';

export type VolumeOperation = 'volume_mount' | 'volume_unmount';

export interface VolumeMetrics {
  /** storage_operation_duration_seconds, storage_operation_errors_total. */
  operation(name: VolumeOperation, plugin: string, seconds: number, succeeded: boolean): void;
}

/** Upstream's names of plugins by the kind of a pod's volume; those of claims are told by where they were mounted. */
const PLUGINS: Partial<Record<VolumeKind, string>> = {
  emptyDir: 'kubernetes.io/empty-dir',
  hostPath: 'kubernetes.io/host-path',
  configMap: 'kubernetes.io/configmap',
  secret: 'kubernetes.io/secret',
  downwardAPI: 'kubernetes.io/downward-api',
  projected: 'kubernetes.io/projected',
  image: 'kubernetes.io/image',
  nfs: 'kubernetes.io/nfs',
  csi: 'kubernetes.io/csi',
};
const UNKNOWN = '<unknown>';
/** Upstream's. */
const BUCKETS_SECONDS = [0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15, 25, 50, 120, 300, 600];

/** The plugin of a pod's volume. @param hostPath where it is mounted, once it is: `…/volumes/kubernetes.io~csi/…`. */
export function pluginNameOf(volume: Volume, hostPath?: string): string {
  const escaped = hostPath && /\/volumes\/([^/]+~[^/]+)\//.exec(hostPath)?.[1];
  if (escaped) return escaped.replaceAll('~', '/');
  const kind = Object.keys(volume).find((key) => key !== 'name') as VolumeKind | undefined;
  return PLUGINS[kind ?? 'emptyDir'] ?? (hostPath === undefined ? UNKNOWN : 'kubernetes.io/host-path');
}

/** @param counts volumes by plugin: those that pods are to have, and those that they have. */
export function createVolumeMetrics(
  registry: Registry | undefined,
  counts: { desired(): Iterable<string>; actual(): Iterable<string> },
): VolumeMetrics {
  const registers = [registry ?? new Registry()];
  const duration = new Histogram({
    name: 'storage_operation_duration_seconds',
    help: 'Storage operation duration',
    labelNames: ['volume_plugin', 'operation_name', 'status', 'migrated'],
    buckets: BUCKETS_SECONDS,
    registers,
  });
  const errors = new Counter({
    name: 'storage_operation_errors_total',
    help: 'Storage operation errors',
    labelNames: ['volume_plugin', 'operation_name'],
    registers,
  });
  new Gauge({
    name: 'volume_manager_total_volumes',
    help: 'Number of volumes in Volume Manager',
    labelNames: ['plugin_name', 'state'],
    registers,
    collect() {
      this.reset();
      for (const plugin_name of counts.desired()) this.inc({ plugin_name, state: 'desired_state_of_world' });
      for (const plugin_name of counts.actual()) this.inc({ plugin_name, state: 'actual_state_of_world' });
    },
  });
  return {
    operation(operation_name, volume_plugin, seconds, succeeded) {
      const status = succeeded ? 'success' : 'fail-unknown';
      duration.observe({ volume_plugin, operation_name, status, migrated: 'false' }, seconds);
      if (!succeeded) errors.inc({ volume_plugin, operation_name });
    },
  };
}
