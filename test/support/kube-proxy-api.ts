import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { ExecutionContext } from 'ava';
import type { EndpointSlice, Service } from '../../src/kube/types.ts';

/**
 * As much of an API server as kube-proxy 1.20 asks for: Services and EndpointSlices (discovery.k8s.io/v1beta1) that never change, and a Node.
 * @returns its URL on loopback
 */
export async function startKubeProxyApi(
  t: ExecutionContext,
  { services, slices, nodeName }: { services: readonly Service[]; slices: readonly EndpointSlice[]; nodeName: string },
): Promise<string> {
  const metadata = { resourceVersion: '1' };
  const lists: Record<string, object> = {
    '/api/v1/services': { kind: 'ServiceList', apiVersion: 'v1', metadata, items: services },
    '/apis/discovery.k8s.io/v1beta1/endpointslices': {
      kind: 'EndpointSliceList',
      apiVersion: 'discovery.k8s.io/v1beta1',
      metadata,
      items: slices.map(formerSlice),
    },
    [`/api/v1/nodes/${nodeName}`]: { kind: 'Node', apiVersion: 'v1', metadata: { name: nodeName }, status: {} },
  };
  const server = createServer(({ url = '', method }, response) => {
    const { pathname, searchParams } = new URL(url, 'http://api');
    const found =
      method === 'POST' ? { kind: 'Event', apiVersion: 'v1', metadata: { name: 'taken' } } : lists[pathname];
    response.writeHead(found ? (method === 'POST' ? 201 : 200) : 404, { 'content-type': 'application/json' });
    if (found && searchParams.has('watch')) response.flushHeaders();
    else response.end(JSON.stringify(found ?? { kind: 'Status', apiVersion: 'v1', status: 'Failure', code: 404 }));
  });
  t.teardown(() => {
    server.closeAllConnections();
    server.close();
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** v1beta1 has the node's name among an endpoint's topology. */
function formerSlice(slice: EndpointSlice): object {
  return {
    ...slice,
    apiVersion: 'discovery.k8s.io/v1beta1',
    endpoints: slice.endpoints?.map(({ nodeName, ...rest }) => ({
      ...rest,
      topology: { 'kubernetes.io/hostname': nodeName },
    })),
  };
}
