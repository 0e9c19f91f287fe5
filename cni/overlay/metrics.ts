import { Counter, Gauge, Histogram, type Registry } from '../../src/runtime/metrics.ts';

/** What the overlay tells a dashboard. */
export function createOverlayMetrics(registry: Registry) {
  const registers = [registry];
  return {
    peers: new Gauge({ name: 'berth_overlay_peers', help: 'Other nodes whose pods can be reached.', registers }),
    skipped: new Gauge({
      name: 'berth_overlay_peers_skipped',
      help: 'Other nodes whose pods cannot be reached; the log and the reasons at /peers say why.',
      registers,
    }),
    mtu: new Gauge({ name: 'berth_overlay_mtu_bytes', help: "Bytes that a pod's packet may have.", registers }),
    info: new Gauge({
      name: 'berth_overlay_backend_info',
      help: "A metric with a constant '1' value labeled by backend and uplink.",
      labelNames: ['backend', 'uplink'],
      registers,
    }),
    syncSeconds: new Histogram({
      name: 'berth_overlay_sync_duration_seconds',
      help: 'Time to bring the kernel in line: after a change of nodes, or in full.',
      labelNames: ['kind'],
      buckets: [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 5],
      registers,
    }),
    written: new Counter({
      name: 'berth_overlay_entries_written_total',
      help: 'Kernel entries (routes, neighbours, forwarding entries) written or removed.',
      registers,
    }),
    failures: new Counter({
      name: 'berth_overlay_sync_failures_total',
      help: 'Syncs that failed and were tried again.',
      registers,
    }),
  };
}

export type OverlayMetrics = ReturnType<typeof createOverlayMetrics>;
