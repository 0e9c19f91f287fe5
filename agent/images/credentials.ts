import type { Pod } from '../../src/kube/types.ts';
import type { Logger } from '../../src/runtime/log.ts';
import type { ConfigSources, EventSink } from '../pods/ports.ts';
import type { CredentialProviders } from './credential-providers/providers.ts';
import { type Credential, lookUpCredentials } from './keyring.ts';
import { repositoryOf } from './name.ts';
import type { NodeCredentials } from './node-credentials.ts';
import { parsePullSecret, readPullSecrets } from './pull-secrets.ts';

export interface CredentialDependencies {
  config?: ConfigSources;
  node: NodeCredentials;
  providers: CredentialProviders;
  events: EventSink;
  log: Logger;
}

/** Looks up what a pod may show a registry. */
export interface PodCredentials {
  /**
   * All credentials that fit the image, in the order of trying: the pod's secrets, the node's files, the plugins. The secrets
   * are read at once, with an event about those that are missing; the rest when the result is asked for.
   * @returns a function that looks once, whoever asks; throws DockerConfigError for a malformed secret
   */
  lookUp(pod: Pod, image: string): () => Promise<Credential[]>;
}

export function createPodCredentials(deps: CredentialDependencies): PodCredentials {
  async function read(pod: Pod) {
    const { found, missing } = await readPullSecrets(pod, deps.config);
    if (missing.length > 0)
      deps.events.event(
        pod,
        'Warning',
        'FailedToRetrieveImagePullSecret',
        `Unable to retrieve some image pull secrets (${missing.join(', ')}); attempting to pull the image may not succeed.`,
      );
    return found;
  }

  return {
    lookUp(pod, image) {
      const repository = repositoryOf(image);
      const secrets = (pod.spec.imagePullSecrets ?? []).length > 0 ? read(pod) : Promise.resolve([]);
      let result: Promise<Credential[]> | undefined;
      const look = async () => {
        const fromSecrets = (await secrets).flatMap((secret) => {
          const parsed = parsePullSecret(secret);
          if (!parsed)
            deps.log.debug(
              { secret: secret.metadata.name, type: secret.type },
              'no pull secret by its type: passed over',
            );
          return parsed ? [parsed] : [];
        });
        const [node, plugins] = await Promise.all([deps.node.read(), deps.providers.ask(pod, repository)]);
        return [fromSecrets, node, plugins].flatMap((keyring) => lookUpCredentials(keyring, repository));
      };
      return () => (result ??= look());
    },
  };
}
