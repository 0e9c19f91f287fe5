import type { EndpointSlice, Pod, Service } from '../../../src/kube/types.ts';
import type { ConnectSubresource, ObjectReader } from '../definition.ts';
import { serviceUnavailable } from '../status-error.ts';
import { proxyToEndpoint } from './endpoint-proxy.ts';
import { objectNameOf, parseTargetName } from './target-name.ts';

const SLICES = { group: 'discovery.k8s.io', plural: 'endpointslices' };
const PODS = { group: '', plural: 'pods' };
const SERVICE_NAME = 'kubernetes.io/service-name';

/** services/proxy: one of the ready pods behind a Service, at random, `/api/v1/namespaces/NS/services/[SCHEME:]NAME[:PORT]/proxy/PATH`; the port by number or name. */
export const serviceProxySubresource: ConnectSubresource<Service> = {
  style: 'connect',
  optionsKind: 'ServiceProxyOptions',
  verbs: ['get', 'create', 'update', 'patch', 'delete'],
  takesPath: true,
  objectName: objectNameOf('service'),
  async connect(request) {
    const { scheme, port } = parseTargetName('service', request.name);
    const endpoints = await endpointsOf(request.object, portName(request.object, port), request.context.objects);
    const endpoint = endpoints[Math.floor(Math.random() * endpoints.length)];
    if (!endpoint) throw serviceUnavailable(`no endpoints available for service ${JSON.stringify(request.name)}`);
    await proxyToEndpoint(request, { scheme, ...endpoint });
  },
};

/** The name of the port with this number; a name is taken as it is, and '' is that of an only port. */
function portName({ metadata, spec }: Service, port: string): string {
  if (!/^\d+$/.test(port)) return port;
  const found = spec.ports?.find((one) => one.port === Number(port));
  if (!found)
    throw serviceUnavailable(`no service port ${Number(port)} found for service ${JSON.stringify(metadata.name)}`);
  return found.name ?? '';
}

/** Only addresses that pods have: whoever writes slices by hand must not lead the API server elsewhere. */
async function endpointsOf(
  { metadata: { name, namespace = '' } }: Service,
  port: string,
  objects: ObjectReader,
): Promise<{ host: string; port: number }[]> {
  const slices = (await objects.list<EndpointSlice>(SLICES, namespace)).filter(
    ({ metadata }) => metadata.labels?.[SERVICE_NAME] === name,
  );
  const found: { host: string; port: number }[] = [];
  for (const slice of slices) {
    const number = slice.ports?.find((one) => (one.name ?? '') === port)?.port;
    if (number === undefined) continue;
    for (const { addresses, conditions, targetRef } of slice.endpoints ?? []) {
      if (conditions?.ready === false || targetRef?.kind !== 'Pod' || !targetRef.name) continue;
      const pod = await objects.get<Pod>(PODS, namespace, targetRef.name);
      const own = new Set((pod?.status?.podIPs ?? []).map(({ ip }) => ip));
      for (const host of addresses) if (own.has(host)) found.push({ host, port: number });
    }
  }
  return found;
}
