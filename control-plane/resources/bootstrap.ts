import { isIPv6 } from 'node:net';
import type { KubeClient } from '../../src/kube/client.ts';
import { isAlreadyExists, isConflict, isNotFound } from '../../src/kube/errors.ts';
import { endpointSlices, endpoints, namespaces, type Resource, services } from '../../src/kube/resources.ts';
import type { Draft, EndpointSlice, Endpoints, KubeObject, Service, ServicePort } from '../../src/kube/types.ts';
import type { Clock } from '../../src/runtime/clock.ts';
import type { Logger } from '../../src/runtime/log.ts';
import { semanticEqual } from './equality.ts';
import { DEFAULT_NAMESPACES } from './namespaces.ts';
import { specialIpProblems } from './values.ts';

/** Objects that the cluster itself owns (sheet §11) are looked after this often. */
const RESYNC_MS = 10_000;
const RETRY_MS = 1_000;

const NAME = 'kubernetes';
const NAMESPACE = 'default';

export interface BootstrapOptions {
  /** Where pods reach the API server; a loopback address is no use to them. */
  advertiseAddress: string;
  securePort: number;
  /** The allocator's `firstAddress`. */
  serviceAddress: string;
}

export interface BootstrapDependencies {
  /** With an administrator's rights. */
  client: Pick<KubeClient, 'get' | 'create' | 'replace'>;
  clock: Clock;
  log: Logger;
}

export interface Bootstrap {
  /** Creates what is missing and mends what differs, once. Rejects when the API server refuses. */
  ensure(signal?: AbortSignal): Promise<void>;
  /** Does so every ten seconds until aborted; failures are logged and tried again. */
  run(signal: AbortSignal): Promise<void>;
}

/** The default namespaces and the Service `kubernetes` with its endpoints. Idempotent. */
export function createBootstrap(options: BootstrapOptions, dependencies: BootstrapDependencies): Bootstrap {
  const { client, clock, log } = dependencies;
  const isReachable = specialIpProblems(options.advertiseAddress).length === 0;
  if (!isReachable)
    log.warn(
      { advertiseAddress: options.advertiseAddress },
      'pods will not reach the API server by the Service kubernetes: its advertised address is no address that other hosts can use',
    );

  async function ensureObject<T extends KubeObject>(
    resource: Resource<T>,
    draft: Draft<T>,
    mend: (object: T) => boolean,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const { name, namespace } = draft.metadata;
    try {
      const object = await client.get(resource, { name: name!, namespace, signal });
      const copy = structuredClone(object);
      if (mend(copy)) await client.replace(resource, copy, { signal });
    } catch (error) {
      if (!isNotFound(error)) throw error;
      await client.create(resource, draft, { namespace, signal });
    }
  }

  /** Another one of us may have been faster: the next round sees its work. */
  async function unlessRaced(work: Promise<void>): Promise<void> {
    await work.catch((error: unknown) => {
      if (!isAlreadyExists(error) && !isConflict(error)) throw error;
    });
  }

  async function ensure(signal?: AbortSignal): Promise<void> {
    await Promise.all(
      DEFAULT_NAMESPACES.map((name) =>
        unlessRaced(ensureObject(namespaces, { metadata: { name }, spec: {} }, () => false, signal)),
      ),
    );
    await unlessRaced(ensureObject(services, serviceDraft(options), (object) => mendService(object, options), signal));
    if (!isReachable) return;
    const slice = sliceDraft(options);
    const oldStyle = endpointsDraft(options);
    await Promise.all([
      unlessRaced(ensureObject(endpointSlices, slice, (object) => mendSlice(object, slice), signal)),
      unlessRaced(ensureObject(endpoints, oldStyle, (object) => mendEndpoints(object, oldStyle), signal)),
    ]);
  }

  return {
    ensure,
    async run(signal) {
      while (!signal.aborted) {
        let pauseMs = RESYNC_MS;
        try {
          await ensure(signal);
        } catch (error) {
          if (signal.aborted) return;
          pauseMs = RETRY_MS;
          log.warn({ err: error }, 'the default namespaces and the Service kubernetes could not be kept');
        }
        await clock.sleep(pauseMs, signal).catch(() => {});
      }
    },
  };
}

const servicePorts = ({ securePort }: BootstrapOptions): ServicePort[] => [
  { name: 'https', protocol: 'TCP', port: 443, targetPort: securePort },
];

const endpointPorts = ({ securePort }: BootstrapOptions) => [
  { name: 'https', port: securePort, protocol: 'TCP' as const },
];

function serviceDraft(options: BootstrapOptions): Draft<Service> {
  return {
    metadata: { name: NAME, namespace: NAMESPACE, labels: { component: 'apiserver', provider: 'kubernetes' } },
    spec: {
      type: 'ClusterIP',
      clusterIP: options.serviceAddress,
      clusterIPs: [options.serviceAddress],
      ports: servicePorts(options),
      sessionAffinity: 'None',
    },
  };
}

function mendService({ spec }: Service, options: BootstrapOptions): boolean {
  const wanted = servicePorts(options);
  if (semanticEqual(spec.ports, wanted)) return false;
  spec.ports = wanted;
  return true;
}

function sliceDraft(options: BootstrapOptions): Draft<EndpointSlice> {
  return {
    metadata: { name: NAME, namespace: NAMESPACE, labels: { 'kubernetes.io/service-name': NAME } },
    addressType: isIPv6(options.advertiseAddress) ? 'IPv6' : 'IPv4',
    endpoints: [{ addresses: [options.advertiseAddress], conditions: { ready: true } }],
    ports: endpointPorts(options),
  };
}

function mendSlice(slice: EndpointSlice, wanted: Draft<EndpointSlice>): boolean {
  if (semanticEqual([slice.endpoints, slice.ports], [wanted.endpoints, wanted.ports])) return false;
  slice.endpoints = wanted.endpoints;
  slice.ports = wanted.ports;
  return true;
}

function endpointsDraft(options: BootstrapOptions): Draft<Endpoints> {
  return {
    // A slice of its own stands beside it: nobody shall mirror this one.
    metadata: { name: NAME, namespace: NAMESPACE, labels: { 'endpointslice.kubernetes.io/skip-mirror': 'true' } },
    subsets: [{ addresses: [{ ip: options.advertiseAddress }], ports: endpointPorts(options) }],
  };
}

function mendEndpoints(object: Endpoints, wanted: Draft<Endpoints>): boolean {
  if (semanticEqual(object.subsets, wanted.subsets)) return false;
  object.subsets = wanted.subsets;
  return true;
}
