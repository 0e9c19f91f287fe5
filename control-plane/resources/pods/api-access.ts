import type { Container, PodSpec, Volume } from '../../../src/kube/types.ts';
import { generateName } from '../../apiserver/generate-name.ts';
import { WARN_ONLY_EXPIRATION_SECONDS } from '../../service-accounts/token-request.ts';

/** Where client libraries look for the way to the API server. */
const MOUNT_PATH = '/var/run/secrets/kubernetes.io/serviceaccount';
const VOLUME_PREFIX = 'kube-api-access-';
const ROOT_CA_CONFIG_MAP = 'kube-root-ca.crt';

/**
 * Gives every container the token of the pod's service account, the cluster's CA and the namespace, as upstream's
 * ServiceAccount admission does. A container that mounts something else in that place keeps it.
 */
export function mountApiAccess(spec: PodSpec, random: () => number): void {
  const present = spec.volumes?.find(({ name }) => name.startsWith(VOLUME_PREFIX));
  const name = present?.name ?? generateName(VOLUME_PREFIX, random);
  const mounts = [...(spec.initContainers ?? []), ...spec.containers].map((container) => mount(container, name));
  if (!present && mounts.includes(true)) spec.volumes = [...(spec.volumes ?? []), apiAccessVolume(name)];
}

/** True when the container got the mount. */
function mount(container: Container, name: string): boolean {
  const mounts = container.volumeMounts ?? [];
  if (mounts.some(({ mountPath }) => mountPath === MOUNT_PATH)) return false;
  container.volumeMounts = [...mounts, { name, readOnly: true, mountPath: MOUNT_PATH }];
  return true;
}

const apiAccessVolume = (name: string): Volume => ({
  name,
  projected: {
    defaultMode: 0o644,
    sources: [
      { serviceAccountToken: { path: 'token', expirationSeconds: WARN_ONLY_EXPIRATION_SECONDS } },
      { configMap: { name: ROOT_CA_CONFIG_MAP, items: [{ key: 'ca.crt', path: 'ca.crt' }] } },
      {
        downwardAPI: {
          items: [{ path: 'namespace', fieldRef: { apiVersion: 'v1', fieldPath: 'metadata.namespace' } }],
        },
      },
    ],
  },
});
