import type { ConfigOf } from '../../src/config/field.ts';
import type { ConfigDefinition } from '../../src/config/load.ts';
import { apiFields } from './sections/api.ts';
import { cgroupsFields, validateCgroups } from './sections/cgroups.ts';
import { dnsFields, validateDns } from './sections/dns.ts';
import { evictionFields, validateEviction } from './sections/eviction.ts';
import { imagesFields, validateImages } from './sections/images.ts';
import { logsFields, validateLogs } from './sections/logs.ts';
import { managersFields, validateManagers } from './sections/managers.ts';
import { podsFields, validatePods } from './sections/pods.ts';
import { runtimeFields } from './sections/runtime.ts';
import { serverFields, validateServer } from './sections/server.ts';
import { shutdownFields, validateShutdown } from './sections/shutdown.ts';

/** Fields of `kubelet.config.k8s.io/v1beta1`, with upstream's names and defaults (kubelet 1.36). */
const fields = {
  ...podsFields,
  ...serverFields,
  ...imagesFields,
  ...apiFields,
  ...dnsFields,
  ...cgroupsFields,
  ...managersFields,
  ...evictionFields,
  ...logsFields,
  ...shutdownFields,
  ...runtimeFields,
};

export type KubeletConfiguration = ConfigOf<typeof fields>;

export const kubeletConfiguration: ConfigDefinition<typeof fields> = {
  apiVersion: 'kubelet.config.k8s.io/v1beta1',
  kind: 'KubeletConfiguration',
  fields,
  validate(config, refuse) {
    validatePods(config, refuse);
    validateServer(config, refuse);
    validateImages(config, refuse);
    validateDns(config, refuse);
    validateCgroups(config, refuse);
    validateShutdown(config, refuse);
    validateEviction(config, refuse);
    validateLogs(config, refuse);
    validateManagers(config, refuse);
  },
};
