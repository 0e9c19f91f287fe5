import { z } from 'zod';
import {
  boolean,
  type ConfigOf,
  deferred,
  duration,
  integer,
  isCidr,
  multimap,
  objects,
  text,
  unsupported,
  url,
} from '../../../src/config/field.ts';
import type { Refuse } from '../../../src/config/load.ts';

const SECOND_MS = 1000;
const MINUTE_MS = 60 * SECOND_MS;

const taint = z.strictObject({
  key: z.string(),
  value: z.string().optional(),
  effect: z.enum(['NoSchedule', 'PreferNoSchedule', 'NoExecute']),
  timeAdded: z.string().optional(),
});

/** Pods of this node, where they come from, and the node object. */
export const podsFields = {
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
  // Upstream's is -1, no limit; a fork bomb in one pod is then everybody's (CIS 4.2.13).
  podPidsLimit: integer(4096, { min: -1 }),
  runOnce: unsupported(boolean(false)),
  enableControllerAttachDetach: unsupported(boolean(true)),
  registerNode: boolean(true),
  registerWithTaints: objects(taint, 'taints with key, value and effect'),
  nodeStatusMaxImages: integer(50, { min: -1 }),
  providerID: text(),
  volumePluginDir: deferred(text('/usr/libexec/kubernetes/kubelet-plugins/volume/exec/')),
  // Below 0: disks are not measured.
  volumeStatsAggPeriod: duration(1 * MINUTE_MS, { minMs: -Infinity }),
  crashLoopBackOff: { maxContainerRestartPeriod: duration(5 * MINUTE_MS, { minMs: SECOND_MS, zeroIsUnset: false }) },
};

export function validatePods(config: ConfigOf<typeof podsFields>, refuse: Refuse): void {
  if (config.podCIDR !== '' && !config.podCIDR.split(',').every(isCidr))
    refuse('podCIDR', config.podCIDR, 'a CIDR, or one of each IP family with a comma between');
  if (config.crashLoopBackOff.maxContainerRestartPeriodMs > 5 * MINUTE_MS)
    refuse(
      'crashLoopBackOff.maxContainerRestartPeriod',
      `${config.crashLoopBackOff.maxContainerRestartPeriodMs}ms`,
      'from 1s to 300s',
    );
}
