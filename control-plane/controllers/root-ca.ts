import { isAlreadyExists, isNamespaceTerminating, isNotFound } from '../../src/kube/errors.ts';
import {
  configMaps as configMapResource,
  namespaces as namespaceResource,
  objectKey,
} from '../../src/kube/resources.ts';
import { type Controller, type ControllerDependencies, createReconciler } from './controller.ts';

export interface RootCaOptions {
  /** What clients of the API server must trust, PEM. */
  caPem: string;
}

const NAME = 'kube-root-ca.crt';
const KEY = 'ca.crt';
const DESCRIPTION = 'kubernetes.io/description';
const DESCRIPTION_TEXT =
  'Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes clusters.';

/** Keeps the ConfigMap kube-root-ca.crt in every namespace, with the right content: pods mount it beside their token. */
export function createRootCaController({ caPem }: RootCaOptions, dependencies: ControllerDependencies): Controller {
  const { client, informers } = dependencies;
  const namespaces = informers.informer(namespaceResource);
  const configMaps = informers.informer(configMapResource, { fieldSelector: `metadata.name=${NAME}` });
  const controller = createReconciler(
    { name: 'root-ca-certificate-publisher-controller', inputs: [namespaces, configMaps], reconcile },
    dependencies,
  );
  const { queue } = controller;
  const data = { [KEY]: caPem };

  namespaces.subscribe({
    added: (namespace) => queue.add(objectKey(namespace)),
    updated: (_, namespace) => queue.add(objectKey(namespace)),
  });
  configMaps.subscribe({
    updated: (_, { metadata }) => queue.add(metadata.namespace!),
    deleted: ({ metadata }) => queue.add(metadata.namespace!),
  });

  async function reconcile(name: string): Promise<void> {
    const namespace = namespaces.get(name);
    if (!namespace || namespace.metadata.deletionTimestamp || namespace.status?.phase === 'Terminating') return;
    const found = configMaps.get(`${name}/${NAME}`);
    try {
      if (!found)
        await client.create(configMapResource, {
          metadata: { name: NAME, namespace: name, annotations: { [DESCRIPTION]: DESCRIPTION_TEXT } },
          data,
        });
      else if (!isRight(found)) {
        const annotations = { ...found.metadata.annotations, [DESCRIPTION]: DESCRIPTION_TEXT };
        await client.replace(configMapResource, { ...found, metadata: { ...found.metadata, annotations }, data });
      }
    } catch (error) {
      if (!isAlreadyExists(error) && !isNamespaceTerminating(error) && !isNotFound(error)) throw error;
    }
  }

  function isRight(found: { metadata: { annotations?: Record<string, string> }; data?: Record<string, string> }) {
    const keys = Object.keys(found.data ?? {});
    return (
      keys.length === 1 && found.data?.[KEY] === caPem && found.metadata.annotations?.[DESCRIPTION] === DESCRIPTION_TEXT
    );
  }

  return controller;
}
