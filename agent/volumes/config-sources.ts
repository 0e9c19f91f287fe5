import type { KubeClient } from '../../src/kube/client.ts';
import { isNotFound } from '../../src/kube/errors.ts';
import { configMaps, secrets } from '../../src/kube/resources.ts';
import type { ConfigSources } from '../pods/ports.ts';

/**
 * ConfigMaps and Secrets by single GETs, which is all that a node's identity may do on a real API server. Asked on each
 * sync of a pod (at least once in 90 s), so volumes follow changes within that time.
 */
export function createConfigSources(client: Pick<KubeClient, 'get'>): ConfigSources {
  async function orUndefined<T>(work: Promise<T>): Promise<T | undefined> {
    try {
      return await work;
    } catch (error) {
      if (isNotFound(error)) return undefined;
      throw error;
    }
  }
  return {
    configMap: (namespace, name) => orUndefined(client.get(configMaps, { namespace, name })),
    secret: (namespace, name) => orUndefined(client.get(secrets, { namespace, name })),
  };
}
