import { isIPv6 } from 'node:net';
import type { KubeClient } from '../../src/kube/client.ts';
import { createInformer } from '../../src/kube/informer.ts';
import { endpointSlices, namespaces, nodes, objectKey, services } from '../../src/kube/resources.ts';
import type { EndpointSlice, KubeObject, Node, Service } from '../../src/kube/types.ts';
import type { Clock } from '../../src/runtime/clock.ts';
import type { Logger } from '../../src/runtime/log.ts';
import { computeServiceRecords, type RecordOptions } from './service-records.ts';
import type { Zone } from './zone.ts';
import { apexNames, namespaceNames } from './zone-names.ts';

const SERVICE_NAME_LABEL = 'kubernetes.io/service-name';
const CHANGE_TRIGGER = 'endpoints.kubernetes.io/last-change-trigger-time';

/** Few servers ask one API server, and every second that it is back and unheard is one of stale names. */
const MAX_RETRY_MS = 1000;

export interface ZoneFeedOptions extends RecordOptions {
  /** Where clients find this server: the Service's address. */
  serverAddress: string;
}

export interface ZoneFeedDependencies {
  client: KubeClient;
  clock: Clock;
  log: Logger;
  /** A headless Service's change reached the zone, so long after the change that caused it. */
  programmed(seconds: number): void;
}

/** Keeps a zone as the API server has Services, EndpointSlices and Namespaces. One that changes costs its own names' work. */
export function createZoneFeed(zone: Zone, options: ZoneFeedOptions, dependencies: ZoneFeedDependencies) {
  const { client, clock, log } = dependencies;
  const shared = { client, clock, log, maxRetryMs: MAX_RETRY_MS };
  const informers = {
    services: createInformer({ ...shared, resource: services, transform: slimService }),
    slices: createInformer({ ...shared, resource: endpointSlices, transform: slimSlice }),
    namespaces: createInformer({ ...shared, resource: namespaces, transform: slimObject }),
    nodes: createInformer({ ...shared, resource: nodes, transform: slimNode }),
  };
  const slicesOf = informers.slices.index((slice) => [serviceKeyOf(slice)]);
  const all = Object.values(informers);

  function update(key: string): void {
    const service = informers.services.get(key);
    // Only headless Services' names follow from their slices.
    const slices = service?.spec.clusterIP === 'None' ? slicesOf(key) : [];
    zone.set(`service ${key}`, service ? computeServiceRecords(service, slices, options) : []);
  }

  function updateFor(slice: EndpointSlice): void {
    const key = serviceKeyOf(slice);
    if (!key || informers.services.get(key)?.spec.clusterIP !== 'None') return;
    update(key);
    const trigger = Date.parse(slice.metadata.annotations?.[CHANGE_TRIGGER] ?? '');
    if (trigger && hasSynced()) dependencies.programmed(Math.max(0, clock.nowMs() - trigger) / 1000);
  }

  const hasSynced = () => all.every((informer) => informer.hasSynced());

  return {
    hasSynced,
    synced: (signal: AbortSignal) => Promise.all(all.map((informer) => informer.synced(signal))).then(() => {}),
    /** Addresses of the cluster's nodes. */
    nodeAddresses: () => informers.nodes.list().flatMap((node) => (node.status?.addresses ?? []).map((a) => a.address)),
    async run(signal: AbortSignal): Promise<void> {
      const serverAddressType = isIPv6(options.serverAddress) ? 'AAAA' : 'A';
      zone.set('apex', apexNames({ ...options, serverAddressType }));
      const updateService = (service: Service) => update(objectKey(service));
      informers.services.subscribe({
        added: updateService,
        updated: (_, service) => updateService(service),
        deleted: updateService,
      });
      informers.slices.subscribe({
        added: updateFor,
        updated(old, slice) {
          if (serviceKeyOf(old) !== serviceKeyOf(slice)) updateFor(old);
          updateFor(slice);
        },
        deleted: updateFor,
      });
      informers.namespaces.subscribe({
        added: ({ metadata: { name } }) => zone.set(`namespace ${name}`, namespaceNames(name, options)),
        deleted: ({ metadata: { name } }) => zone.set(`namespace ${name}`, []),
      });
      await Promise.all(all.map((informer) => informer.run(signal)));
    },
  };
}

export type ZoneFeed = ReturnType<typeof createZoneFeed>;

function serviceKeyOf({ metadata }: EndpointSlice): string | undefined {
  const name = metadata.labels?.[SERVICE_NAME_LABEL];
  return name && `${metadata.namespace}/${name}`;
}

/** With thousands of Services, what is not kept counts: only what names are made of stays. */
function slimService(service: Service): Service {
  const { type, clusterIP, clusterIPs, externalName, ports, publishNotReadyAddresses } = service.spec;
  const slimPorts = ports?.map(({ name, protocol, port }) => ({ name, protocol, port }));
  const spec = { type, clusterIP, clusterIPs, externalName, publishNotReadyAddresses, ports: slimPorts };
  return { metadata: slimObject(service).metadata, spec } as Service;
}

function slimSlice(slice: EndpointSlice): EndpointSlice {
  const trigger = slice.metadata.annotations?.[CHANGE_TRIGGER];
  const { metadata } = slimObject(slice);
  const service = slice.metadata.labels?.[SERVICE_NAME_LABEL];
  return {
    metadata: {
      ...metadata,
      ...(service && { labels: { [SERVICE_NAME_LABEL]: service } }),
      ...(trigger && { annotations: { [CHANGE_TRIGGER]: trigger } }),
    },
    addressType: slice.addressType,
    endpoints: slice.endpoints?.map(({ addresses, conditions, hostname }) => ({
      addresses,
      conditions: { ready: conditions?.ready },
      hostname,
    })),
    ports: slice.ports?.map(({ name, protocol, port }) => ({ name, protocol, port })),
  };
}

function slimNode(node: Node): Node {
  return { ...slimObject(node), status: { addresses: node.status?.addresses } } as Node;
}

function slimObject<T extends KubeObject>({ metadata }: T): T {
  const { name, namespace, uid, resourceVersion, creationTimestamp } = metadata;
  return { metadata: { name, namespace, uid, resourceVersion, creationTimestamp } } as T;
}
