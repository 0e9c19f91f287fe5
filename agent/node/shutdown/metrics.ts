import type { Registry } from '../../../src/runtime/metrics.ts';
import { Gauge } from '../../../src/runtime/metrics.ts';
import type { ShutdownState } from './state.ts';

/** kubelet_graceful_shutdown_{start,end}_time_seconds: the last one, also of an earlier life of this node; 0: none, or not ended. */
export function createShutdownMetrics(registry: Registry): { show(state: ShutdownState): void } {
  const gauge = (which: 'start' | 'end') =>
    new Gauge({
      name: `kubelet_graceful_shutdown_${which}_time_seconds`,
      help: `Last graceful shutdown ${which} time since unix epoch in seconds`,
      registers: [registry],
    });
  const [start, end] = [gauge('start'), gauge('end')];
  return {
    show({ startMs = 0, endMs = 0 }) {
      start.set(Math.floor(startMs / 1000));
      end.set(Math.floor(endMs / 1000));
    },
  };
}
