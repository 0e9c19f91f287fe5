import { type ConfigOf, choice, deferred, duration, integer, text } from '../../../src/config/field.ts';

const SECOND_MS = 1000;
const MINUTE_MS = 60 * SECOND_MS;

/** How the node talks to the API server. */
export const apiFields = {
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

/** How often an unchanged node status is still sent. @returns milliseconds */
export function nodeStatusReportFrequencyMs(config: ConfigOf<typeof apiFields>): number {
  if (config.nodeStatusReportFrequencyMs > 0) return config.nodeStatusReportFrequencyMs;
  const isSet = config.nodeStatusUpdateFrequencyMs !== apiFields.nodeStatusUpdateFrequency.fallback;
  return isSet ? config.nodeStatusUpdateFrequencyMs : 5 * MINUTE_MS;
}
