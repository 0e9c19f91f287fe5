import type { Pod, Secret } from '../../src/kube/types.ts';
import type { ConfigSources } from '../pods/ports.ts';
import { type DockerConfigEntry, DockerConfigError, parseDockerCfg, parseDockerConfigJson } from './docker-config.ts';
import type { ConfigEntries } from './keyring.ts';

export interface PullSecrets {
  /** Of the secrets that are there, in the pod's order. */
  found: Secret[];
  /** Names of those that are not, or cannot be asked for. */
  missing: string[];
}

/** The pod's imagePullSecrets. Those of its service account are among them: admission wrote them there. */
export async function readPullSecrets(pod: Pod, config: ConfigSources | undefined): Promise<PullSecrets> {
  const namespace = pod.metadata.namespace ?? 'default';
  const names = (pod.spec.imagePullSecrets ?? []).flatMap(({ name }) => (name ? [name] : []));
  const answers = await Promise.all(
    names.map(async (name) => {
      try {
        const secret = await config?.secret(namespace, name);
        return secret ? { ...secret, metadata: { ...secret.metadata, namespace, name } } : undefined;
      } catch {
        // An API server that is away: an image that needs no secret must not wait for it.
        return undefined;
      }
    }),
  );
  return {
    found: answers.filter((answer) => answer !== undefined) as Secret[],
    missing: names.filter((_, index) => answers[index] === undefined),
  };
}

const FORMATS: readonly { type: string; key: string; parse(text: string): DockerConfigEntry[] }[] = [
  { type: 'kubernetes.io/dockerconfigjson', key: '.dockerconfigjson', parse: parseDockerConfigJson },
  { type: 'kubernetes.io/dockercfg', key: '.dockercfg', parse: parseDockerCfg },
];

/** What a secret says of registries; undefined for secrets of other types, which upstream passes over too. Throws when it is malformed. */
export function parsePullSecret(secret: Secret): ConfigEntries | undefined {
  const format = FORMATS.find(({ type }) => type === secret.type);
  const data = format && secret.data?.[format.key];
  if (!format || !data) return undefined;
  const { uid, namespace = '', name } = secret.metadata;
  try {
    const entries = format.parse(Buffer.from(data, 'base64').toString());
    return { source: { secret: { uid, namespace, name } }, entries };
  } catch (error) {
    if (error instanceof DockerConfigError)
      throw new DockerConfigError(`pull secret ${namespace}/${name}, key ${format.key}: ${error.message}`);
    throw error;
  }
}
