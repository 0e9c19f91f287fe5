import { createServer, type ServerResponse } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { clusterIpOf, endpointsOf, type Order, serviceNameOf } from './world.ts';

/**
 * An API server made of nothing but Services, EndpointSlices and a Node: lists in pages, watches, and changes on order of the process that started
 * it. Plain HTTP on loopback, so that what is measured is the proxy; it runs inside the proxy's namespace. It answers for kube-proxy 1.20 too
 * (discovery.k8s.io/v1beta1).
 */

interface KubeObject {
  metadata: { name: string; namespace?: string; resourceVersion: string };
}
interface Collection {
  kind: string;
  apiVersion: string;
  objects: Map<string, KubeObject>;
  watchers: Set<ServerResponse>;
  log: { version: number; text: string }[];
}

const COLLECTIONS: Record<string, Collection> = {
  '/api/v1/services': collection('Service', 'v1'),
  '/api/v1/nodes': collection('Node', 'v1'),
  '/apis/discovery.k8s.io/v1/endpointslices': collection('EndpointSlice', 'discovery.k8s.io/v1'),
  '/apis/discovery.k8s.io/v1beta1/endpointslices': collection('EndpointSlice', 'discovery.k8s.io/v1beta1'),
  '/apis/networking.k8s.io/v1/servicecidrs': collection('ServiceCIDR', 'networking.k8s.io/v1'),
};
const SLICES = Object.values(COLLECTIONS).filter(({ kind }) => kind === 'EndpointSlice');
let version = 1;
let running: Extract<Order, { start: object }>['start'] | undefined;

process.on('message', async (order: Order & { id: number }) => {
  process.send!({ id: order.id, answer: await obey(order) });
});
process.on('disconnect', () => process.exit(0));

async function obey(order: Order): Promise<unknown> {
  if ('start' in order) return start(order.start);
  if ('change' in order) return changeEndpoints(order.change.service, order.change.addresses);
  if ('watchers' in order) return SLICES.reduce((sum, { watchers }) => sum + watchers.size, 0);
  const { perSecond, seconds } = order.burst;
  const startMs = performance.now();
  for (let count = 0; count < perSecond * seconds; count++) {
    // Services in turn, never the one whose traffic is watched; each gets an endpoint that nobody had before.
    const service = 1 + ((count * 7919) % (running!.services - 1));
    changeEndpoints(service, [...endpointsOf(service, running!.endpoints).slice(1), burstAddress(count)]);
    const dueMs = startMs + ((count + 1) * 1000) / perSecond;
    if (dueMs > performance.now()) await sleep(dueMs - performance.now());
  }
  return performance.now() - startMs;
}

function burstAddress(count: number): string {
  return `10.200.${(count >> 8) & 255}.${count & 255}`;
}

function collection(kind: string, apiVersion: string): Collection {
  return { kind, apiVersion, objects: new Map(), watchers: new Set(), log: [] };
}

function start(options: NonNullable<typeof running>): Promise<void> {
  running = options;
  put(COLLECTIONS['/api/v1/nodes']!, {
    metadata: { name: options.nodeName },
    spec: { podCIDR: '10.128.0.0/9', podCIDRs: ['10.128.0.0/9'] },
    status: { addresses: [{ type: 'InternalIP', address: options.nodeIp }] },
  });
  for (let index = 0; index < options.services; index++) {
    put(COLLECTIONS['/api/v1/services']!, {
      metadata: { namespace: 'bench', name: serviceNameOf(index), uid: `uid-${index}` },
      spec: {
        type: 'ClusterIP',
        clusterIP: clusterIpOf(index),
        clusterIPs: [clusterIpOf(index)],
        ipFamilies: ['IPv4'],
        sessionAffinity: 'None',
        ports: [{ port: 80, protocol: 'TCP', targetPort: 8080 }],
      },
      status: { loadBalancer: {} },
    });
    changeEndpoints(index, index === 0 ? options.firstEndpoints : endpointsOf(index, options.endpoints));
  }
  const server = createServer(({ url = '', method = '' }, response) =>
    answer(new URL(url, 'http://x'), method, response),
  );
  return new Promise((resolve) => server.listen(options.port, '127.0.0.1', () => resolve()));
}

function changeEndpoints(service: number, addresses: readonly string[]): void {
  for (const slices of SLICES) {
    const old = slices.apiVersion.endsWith('beta1');
    const here = old ? { topology: { 'kubernetes.io/hostname': running!.nodeName } } : { nodeName: running!.nodeName };
    put(slices, {
      metadata: {
        namespace: 'bench',
        name: `${serviceNameOf(service)}-abcde`,
        labels: { 'kubernetes.io/service-name': serviceNameOf(service) },
      },
      addressType: 'IPv4',
      ports: [{ name: '', port: 8080, protocol: 'TCP' }],
      endpoints: addresses.map((address) => ({ addresses: [address], conditions: { ready: true }, ...here })),
    });
  }
}

/** Keeps what only this one version needs: the others of an object are text in the log of watches. */
function put(into: Collection, draft: { metadata: object; [field: string]: unknown }): void {
  const object = { apiVersion: into.apiVersion, kind: into.kind, ...draft } as KubeObject & object;
  object.metadata = { ...object.metadata, resourceVersion: String(++version) };
  const key = `${object.metadata.namespace}/${object.metadata.name}`;
  const type = into.objects.has(key) ? 'MODIFIED' : 'ADDED';
  into.objects.set(key, object);
  if (type === 'ADDED') return;
  const text = `${JSON.stringify({ type, object })}\n`;
  into.log.push({ version, text });
  for (const watcher of into.watchers) watcher.write(text);
}

function answer({ pathname, searchParams }: URL, method: string, response: ServerResponse): void {
  const send = (code: number, body: object) =>
    response.writeHead(code, { 'content-type': 'application/json' }).end(JSON.stringify(body));
  const node = /^\/api\/v1\/nodes\/(.+)$/.exec(pathname)?.[1];
  const found = COLLECTIONS[pathname];
  if (method === 'POST') send(201, { kind: 'Event', apiVersion: 'v1', metadata: { name: 'taken' } });
  else if (pathname === '/apis/discovery.k8s.io/v1')
    send(200, { kind: 'APIResourceList', groupVersion: 'discovery.k8s.io/v1', resources: [] });
  else if (node) send(200, COLLECTIONS['/api/v1/nodes']!.objects.get(`undefined/${node}`)!);
  else if (!found) send(404, { kind: 'Status', apiVersion: 'v1', status: 'Failure', reason: 'NotFound', code: 404 });
  else if (searchParams.has('watch')) watch(found, Number(searchParams.get('resourceVersion')), response);
  else {
    const all = [...found.objects.values()];
    const from = Number(searchParams.get('continue') ?? 0);
    const to = from + (Number(searchParams.get('limit')) || all.length);
    const more = to < all.length ? { continue: String(to), remainingItemCount: all.length - to } : {};
    const metadata = { resourceVersion: String(version), ...more };
    send(200, { kind: `${found.kind}List`, apiVersion: found.apiVersion, metadata, items: all.slice(from, to) });
  }
}

function watch(found: Collection, after: number, response: ServerResponse): void {
  response.writeHead(200, { 'content-type': 'application/json' });
  response.flushHeaders();
  for (const { version: at, text } of found.log) if (at > after) response.write(text);
  found.watchers.add(response);
  response.on('close', () => found.watchers.delete(response));
}
