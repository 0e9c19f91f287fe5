import type { NodeEvent } from '../../agent/gc/node-event.ts';
import type { EventRecorder } from '../../src/kube/events.ts';

/** Events about the node, filed under its name as the kubelet's are: `kubectl describe node` looks there. */
export function nodeEvents(events: Pick<EventRecorder, 'event'>, nodeName: string): NodeEvent {
  const reference = { apiVersion: 'v1', kind: 'Node', name: nodeName, uid: nodeName };
  return (type, reason, message) => events.event(reference, type, reason, message);
}
