import { isAlreadyExists, isNamespaceTerminating, isNotFound } from '../../src/kube/errors.ts';
import {
  namespaces as namespaceResource,
  objectKey,
  serviceAccounts as serviceAccountResource,
} from '../../src/kube/resources.ts';
import { type Controller, type ControllerDependencies, createReconciler } from './controller.ts';

const DEFAULT_NAME = 'default';

/** Sees to it that every namespace has a ServiceAccount named default. */
export function createServiceAccountController(dependencies: ControllerDependencies): Controller {
  const { client, informers } = dependencies;
  const namespaces = informers.informer(namespaceResource);
  const serviceAccounts = informers.informer(serviceAccountResource);
  const controller = createReconciler(
    {
      name: 'serviceaccount-controller',
      inputs: [namespaces, serviceAccounts],
      reconcile,
    },
    dependencies,
  );
  const { queue } = controller;

  namespaces.subscribe({
    added: (namespace) => queue.add(objectKey(namespace)),
    updated: (_, namespace) => queue.add(objectKey(namespace)),
  });
  serviceAccounts.subscribe({
    deleted: ({ metadata }) => metadata.name === DEFAULT_NAME && queue.add(metadata.namespace!),
  });

  async function reconcile(name: string): Promise<void> {
    const namespace = namespaces.get(name);
    if (!namespace || namespace.metadata.deletionTimestamp || namespace.status?.phase === 'Terminating') return;
    if (serviceAccounts.get(`${name}/${DEFAULT_NAME}`)) return;
    try {
      await client.create(serviceAccountResource, { metadata: { name: DEFAULT_NAME, namespace: name } });
    } catch (error) {
      if (!isAlreadyExists(error) && !isNamespaceTerminating(error) && !isNotFound(error)) throw error;
    }
  }

  return controller;
}
