import { isForbidden, isNotFound } from '../../src/kube/errors.ts';
import {
  namespaces as namespaceResource,
  objectKey,
  pods as podResource,
  type Resource,
} from '../../src/kube/resources.ts';
import type { KubeObject, Namespace, NamespaceCondition } from '../../src/kube/types.ts';
import { timestamp } from '../../src/runtime/clock.ts';
import { withCondition } from './conditions.ts';
import { type Controller, type ControllerDependencies, createReconciler } from './controller.ts';
import { sameStatus } from './same-status.ts';

const FINALIZER = 'kubernetes';
/** For finalizers and whatever else holds content; the end of pods is told by their informer. */
const RECHECK_MS = 5000;

export interface NamespaceControllerOptions {
  /** All namespaced kinds that can be listed and deleted. */
  resources: readonly Resource[];
}

/** What of a namespace is still there. */
export interface NamespaceRemains {
  resource: Resource;
  count: number;
  /** Finalizers that hold them, with how many each. */
  finalizers: Map<string, number>;
}

/** Empties namespaces that are being deleted, pods first, and lets them go when nothing is left. */
export function createNamespaceController(
  options: NamespaceControllerOptions,
  dependencies: ControllerDependencies,
): Controller {
  const { client, informers, clock } = dependencies;
  const namespaces = informers.informer(namespaceResource);
  const resources = [...options.resources]
    .filter((resource) => resource.namespaced)
    .sort((a, b) => Number(b.plural === 'pods') - Number(a.plural === 'pods'));
  const controller = createReconciler(
    {
      name: 'namespace-controller',
      inputs: [namespaces],
      concurrency: 10,
      reconcile,
    },
    dependencies,
  );
  const { queue } = controller;

  const enqueue = (namespace: Namespace) => {
    if (namespace.metadata.deletionTimestamp) queue.add(objectKey(namespace));
  };
  namespaces.subscribe({ added: enqueue, updated: (_, namespace) => enqueue(namespace) });
  // What takes its time is mostly pods: their end is worth a look at once.
  informers.informer(podResource).subscribe({
    deleted({ metadata }) {
      const namespace = namespaces.get(metadata.namespace!);
      if (namespace) enqueue(namespace);
    },
  });

  async function reconcile(key: string): Promise<void> {
    const namespace = namespaces.get(key);
    if (!namespace?.metadata.deletionTimestamp) return;
    if (!namespace.spec.finalizers?.includes(FINALIZER)) return;
    const remains: NamespaceRemains[] = [];
    const failures: string[] = [];
    for (const resource of resources) {
      try {
        const left = await emptyOf(resource, namespace.metadata.name);
        if (left.count > 0) remains.push(left);
      } catch (error) {
        failures.push(`${resource.plural}: ${error instanceof Error ? error.message : error}`);
      }
    }
    const conditions = computeNamespaceConditions(namespace, remains, failures, clock.nowMs());
    if (remains.length > 0 || failures.length > 0) {
      const status = { ...namespace.status, conditions };
      if (!sameStatus(status, namespace.status))
        await client.replace(namespaceResource, { ...namespace, status }, { subresource: 'status' });
      queue.addAfter(key, RECHECK_MS);
      return;
    }
    const finalizers = namespace.spec.finalizers.filter((finalizer) => finalizer !== FINALIZER);
    await client
      .replace(
        namespaceResource,
        { ...namespace, spec: { ...namespace.spec, finalizers } },
        { subresource: 'finalize' },
      )
      .catch((error: unknown) => {
        if (!isNotFound(error)) throw error;
      });
  }

  /** Deletes all objects of a kind in the namespace and counts what stays (grace periods, finalizers). */
  async function emptyOf(resource: Resource, namespace: string): Promise<NamespaceRemains> {
    const remains: NamespaceRemains = { resource, count: 0, finalizers: new Map() };
    let token: string | undefined;
    do {
      const page = await client.list(resource, { namespace, limit: 500, continue: token });
      for (const object of page.items) {
        const left = object.metadata.deletionTimestamp ? object : await remove(resource, object);
        if (!left) continue;
        remains.count++;
        for (const finalizer of left.metadata.finalizers ?? [])
          remains.finalizers.set(finalizer, (remains.finalizers.get(finalizer) ?? 0) + 1);
      }
      token = page.metadata.continue || undefined;
    } while (token);
    return remains;
  }

  /** The object as it stays behind, undefined when it is gone. */
  async function remove(resource: Resource, { metadata }: KubeObject): Promise<KubeObject | undefined> {
    const { namespace, name, uid } = metadata;
    try {
      const answer = await client.delete(resource, { namespace, name, uid, propagationPolicy: 'Background' });
      return 'kind' in answer && answer.kind === 'Status' ? undefined : (answer as KubeObject);
    } catch (error) {
      if (isNotFound(error)) return undefined;
      // Objects that the server itself keeps must not block the rest.
      if (isForbidden(error)) return { metadata };
      throw error;
    }
  }

  return controller;
}

/** The conditions that tell why a namespace does not go away; upstream's texts. */
export function computeNamespaceConditions(
  namespace: Namespace,
  remains: readonly NamespaceRemains[],
  failures: readonly string[],
  nowMs: number,
): NamespaceCondition[] {
  const counted = remains.map(
    ({ resource, count }) =>
      `${resource.plural}${resource.group ? `.${resource.group}` : ''} has ${count} resource instances`,
  );
  const finalizers = new Map<string, number>();
  for (const one of remains)
    for (const [finalizer, count] of one.finalizers)
      finalizers.set(finalizer, (finalizers.get(finalizer) ?? 0) + count);
  const held = [...finalizers].map(([finalizer, count]) => `${finalizer} in ${count} resource instances`);
  const facts: [type: string, isTrue: boolean, reasons: [string, string], messages: [string, string]][] = [
    [
      'NamespaceDeletionDiscoveryFailure',
      false,
      ['DiscoveryFailed', 'ResourcesDiscovered'],
      ['', 'All resources successfully discovered'],
    ],
    [
      'NamespaceDeletionGroupVersionParsingFailure',
      false,
      ['GroupVersionParsingFailed', 'ParsedGroupVersions'],
      ['', 'All legacy kube types successfully parsed'],
    ],
    [
      'NamespaceDeletionContentFailure',
      failures.length > 0,
      ['ContentDeletionFailed', 'ContentDeleted'],
      [
        `Failed to delete all resource types, ${failures.length} remaining: ${failures.join(', ')}`,
        'All content successfully deleted, may be waiting on finalization',
      ],
    ],
    [
      'NamespaceContentRemaining',
      counted.length > 0,
      ['SomeResourcesRemain', 'ContentRemoved'],
      [`Some resources are remaining: ${counted.sort().join(', ')}`, 'All content successfully removed'],
    ],
    [
      'NamespaceFinalizersRemaining',
      held.length > 0,
      ['SomeFinalizersRemain', 'ContentHasNoFinalizers'],
      [
        `Some content in the namespace has finalizers remaining: ${held.sort().join(', ')}`,
        'All content-preserving finalizers finished',
      ],
    ],
  ];
  let conditions = namespace.status?.conditions ?? [];
  for (const [type, isTrue, reasons, messages] of facts) {
    const [reason, message] = isTrue ? [reasons[0], messages[0]] : [reasons[1], messages[1]];
    const condition = {
      type,
      status: isTrue ? 'True' : 'False',
      reason,
      message,
      lastTransitionTime: timestamp(nowMs),
    };
    const before = conditions.find((one) => one.type === type);
    // The numbers in the message change without the status doing so.
    if (before?.status === condition.status && before.message !== message)
      conditions = conditions.map((one) => (one === before ? { ...before, reason, message } : one));
    else conditions = withCondition(conditions, condition);
  }
  return conditions;
}
