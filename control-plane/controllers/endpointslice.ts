import { isDeepStrictEqual } from 'node:util';
import { isNamespaceTerminating, isNotFound } from '../../src/kube/errors.ts';
import {
  nodes as nodeResource,
  objectKey,
  pods as podResource,
  services as serviceResource,
  endpointSlices as sliceResource,
} from '../../src/kube/resources.ts';
import { mapSelector } from '../../src/kube/selectors.ts';
import type { Draft, Endpoint, EndpointSlice, Pod, Service } from '../../src/kube/types.ts';
import { timestamp } from '../../src/runtime/clock.ts';
import { type Controller, type ControllerDependencies, createReconciler } from './controller.ts';
import { type AddressType, addressTypes, computeEndpoints, type EndpointGroup, isHeadless } from './endpoint.ts';
import { packSlices } from './endpointslice-packing.ts';
import { createOwnWrites } from './own-writes.ts';
import { controllerReference } from './ownership.ts';
import { isPodReady } from './pod-state.ts';
import { createTriggerTimes } from './trigger-time.ts';

const SERVICE_NAME = 'kubernetes.io/service-name';
const MANAGED_BY = 'endpointslice.kubernetes.io/managed-by';
const MANAGER = 'endpointslice-controller.k8s.io';
const HEADLESS = 'service.kubernetes.io/headless';
const TRIGGER_TIME = 'endpoints.kubernetes.io/last-change-trigger-time';

/** Writes the EndpointSlices of every Service with a selector. */
export function createEndpointSliceController(dependencies: ControllerDependencies): Controller {
  const { client, informers, clock, events } = dependencies;
  const services = informers.informer(serviceResource);
  const pods = informers.informer(podResource);
  const slices = informers.informer(sliceResource);
  const nodes = informers.informer(nodeResource);
  const servicesByNamespace = services.index((service) => [service.metadata.namespace]);
  const podsByNamespace = pods.index((pod) => [pod.metadata.namespace]);
  const slicesByService = slices.index((slice) => [serviceOf(slice)]);
  const ownWrites = createOwnWrites(slices, clock);
  const triggerTimes = createTriggerTimes();

  const controller = createReconciler(
    {
      name: 'endpointslice-controller',
      inputs: [services, pods, slices, nodes],
      reconcile,
    },
    dependencies,
  );
  const { queue } = controller;

  services.subscribe({
    added: (service) => queue.add(objectKey(service)),
    updated: (_, service) => queue.add(objectKey(service)),
    deleted: (service) => queue.add(objectKey(service)),
  });
  pods.subscribe({
    added: enqueueSelecting,
    updated(old, pod) {
      if (isDeepStrictEqual(relevantParts(old), relevantParts(pod))) return;
      enqueueSelecting(old);
      enqueueSelecting(pod);
    },
    deleted: enqueueSelecting,
  });
  const enqueueSliceOwner = (slice: EndpointSlice) => {
    const key = serviceOf(slice);
    if (key) queue.add(key);
  };
  slices.subscribe({
    added: enqueueSliceOwner,
    updated: (_, slice) => enqueueSliceOwner(slice),
    deleted: enqueueSliceOwner,
  });

  function enqueueSelecting(pod: Pod) {
    for (const service of servicesByNamespace(pod.metadata.namespace!))
      if (hasSelector(service) && mapSelector(service.spec.selector).matches(pod.metadata.labels))
        queue.add(objectKey(service));
  }

  async function reconcile(key: string): Promise<void> {
    const service = services.get(key);
    if (!service || service.metadata.deletionTimestamp) {
      triggerTimes.forget(key);
      return;
    }
    if (!hasSelector(service) || service.spec.type === 'ExternalName') return;
    if (!ownWrites.areSeen(key)) return queue.addAfter(key, ownWrites.patienceMs);

    const selector = mapSelector(service.spec.selector);
    const selected = podsByNamespace(service.metadata.namespace!).filter((pod) =>
      selector.matches(pod.metadata.labels),
    );
    const triggerMs = triggerTimes.next(key, service, selected);
    const existing = slicesByService(key).filter((slice) => !slice.metadata.deletionTimestamp);
    const types = addressTypes(service);
    for (const type of types) {
      const groups = computeEndpoints(service, selected, type, nodes.get);
      const plan = packSlices(
        groups,
        existing.filter((slice) => slice.addressType === type),
      );
      for (const group of plan.create) await create(key, service, type, group, triggerMs);
      for (const { slice, endpoints } of plan.update) await update(key, service, slice, endpoints, triggerMs);
      // Endpoints are right, but the Service's labels may have changed.
      for (const slice of plan.keep)
        if (!isDeepStrictEqual(sliceLabels(service), slice.metadata.labels))
          await update(key, service, slice, slice.endpoints ?? [], triggerMs);
      for (const slice of plan.remove) await remove(key, slice);
    }
    for (const slice of existing) if (!types.includes(slice.addressType as AddressType)) await remove(key, slice);
  }

  async function create(
    key: string,
    service: Service,
    addressType: AddressType,
    group: EndpointGroup,
    triggerMs: number | undefined,
  ): Promise<void> {
    const { name, namespace } = service.metadata;
    const draft: Draft<EndpointSlice> = {
      metadata: {
        generateName: `${name}-`,
        namespace,
        labels: sliceLabels(service),
        ...(triggerMs !== undefined && { annotations: { [TRIGGER_TIME]: timestamp(triggerMs) } }),
        ownerReferences: [controllerReference(service)],
      },
      addressType,
      ...group,
    };
    try {
      ownWrites.wrote(key, await client.create(sliceResource, draft, { namespace }));
    } catch (error) {
      if (isNamespaceTerminating(error)) return;
      events.event(
        service,
        'Warning',
        'FailedToCreateEndpointSlices',
        `Error creating EndpointSlice: ${error instanceof Error ? error.message : error}`,
      );
      throw error;
    }
  }

  async function update(
    key: string,
    service: Service,
    slice: EndpointSlice,
    endpoints: Endpoint[],
    triggerMs: number | undefined,
  ): Promise<void> {
    const { [TRIGGER_TIME]: _, ...annotations } = slice.metadata.annotations ?? {};
    if (triggerMs !== undefined) annotations[TRIGGER_TIME] = timestamp(triggerMs);
    const metadata = { ...slice.metadata, labels: sliceLabels(service), annotations };
    ownWrites.wrote(key, await client.replace(sliceResource, { ...slice, metadata, endpoints }));
  }

  async function remove(key: string, slice: EndpointSlice): Promise<void> {
    const { namespace, name, uid } = slice.metadata;
    try {
      await client.delete(sliceResource, { namespace, name, uid });
      ownWrites.deleted(key, slice);
    } catch (error) {
      if (!isNotFound(error)) throw error;
    }
  }

  return controller;
}

/** A Service without selector has endpoints of someone else's making. */
function hasSelector(service: Service): boolean {
  return Object.keys(service.spec.selector ?? {}).length > 0;
}

/** 'namespace/service' of a slice that this controller manages. */
function serviceOf({ metadata: { labels, namespace } }: EndpointSlice): string | undefined {
  const name = labels?.[SERVICE_NAME];
  return name && labels[MANAGED_BY] === MANAGER ? `${namespace}/${name}` : undefined;
}

function sliceLabels(service: Service): Record<string, string> {
  const { [HEADLESS]: _, ...own } = service.metadata.labels ?? {};
  return {
    ...own,
    [SERVICE_NAME]: service.metadata.name,
    [MANAGED_BY]: MANAGER,
    ...(isHeadless(service) && { [HEADLESS]: '' }),
  };
}

/** What of a pod can change its endpoints; the many other status changes are not worth a look. */
function relevantParts({ metadata, spec, status }: Pod) {
  const { labels, deletionTimestamp } = metadata;
  const { hostname, subdomain, nodeName } = spec;
  const ready = isPodReady({ status } as Pod);
  const { phase, podIP, podIPs } = status ?? {};
  return { labels, deletionTimestamp, hostname, subdomain, nodeName, ready, phase, podIP, podIPs };
}
