import type { EventSink } from '../../agent/pods/ports.ts';
import type { Logger } from '../../src/runtime/log.ts';

/** Without an API server events go where people look next. */
export function logEvents(log: Logger): EventSink {
  return {
    event: (pod, type, reason, message) =>
      log[type === 'Warning' ? 'warn' : 'info'](
        { pod: `${pod.metadata.namespace}/${pod.metadata.name}`, reason },
        message,
      ),
  };
}
