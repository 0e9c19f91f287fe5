import type { Logger } from '../../src/runtime/log.ts';
import { podKey } from '../containers/identity.ts';
import type { EventSink } from './ports.ts';

/** Events of a node without an API server: into the log. */
export function createLogEventSink(log: Logger): EventSink {
  return {
    event(pod, type, reason, message, fieldPath) {
      log[type === 'Warning' ? 'warn' : 'info']({ pod: podKey(pod), reason, fieldPath }, message);
    },
  };
}
