import { createServer, type ServerResponse } from 'node:http';
import type { EndpointSlice, KubeObject } from '../../src/kube/types.ts';

/*
 * As much of an API server as kube-proxy 1.20 asks: Services, EndpointSlices (v1beta1) and Nodes, listed and watched, over plain HTTP on the
 * loopback of the namespace that it runs in. Its objects come by messages of the process that started it.
 */

const COLLECTIONS: Record<string, { apiVersion: string; kind: string }> = {
  '/api/v1/services': { apiVersion: 'v1', kind: 'Service' },
  '/api/v1/nodes': { apiVersion: 'v1', kind: 'Node' },
  '/apis/discovery.k8s.io/v1beta1/endpointslices': { apiVersion: 'discovery.k8s.io/v1beta1', kind: 'EndpointSlice' },
};

const objects = new Map<string, KubeObject>();
const watchers = new Map<string, Set<ServerResponse>>();
const log: { version: number; kind?: string; text: string }[] = [];
let version = 1;

process.on('message', ({ put = [], remove = [] }: { put?: KubeObject[]; remove?: KubeObject[] }) => {
  for (const object of put) change(objects.has(keyOf(object)) ? 'MODIFIED' : 'ADDED', object);
  for (const object of remove) change('DELETED', object);
  process.send!('taken');
});
process.on('disconnect', () => process.exit(0));

function keyOf({ kind = '', metadata }: KubeObject): string {
  return `${kind} ${metadata.namespace}/${metadata.name}`;
}

function change(asked: string, given: KubeObject): void {
  let type = asked;
  const object = inOldForm({ ...given, metadata: { ...given.metadata, resourceVersion: String(++version) } });
  // Who selects by label sees an object that loses its place among the selected go.
  if (!isSelected(object.metadata)) {
    if (!objects.delete(keyOf(object))) return;
    type = 'DELETED';
  } else if (type === 'DELETED') objects.delete(keyOf(object));
  else objects.set(keyOf(object), object);
  const text = `${JSON.stringify({ type, object })}\n`;
  log.push({ version, kind: object.kind, text });
  for (const watcher of watchers.get(object.kind ?? '') ?? []) watcher.write(text);
}

/** In v1beta1 the node's name is a label among others. */
function inOldForm(object: KubeObject): KubeObject {
  if (object.kind !== 'EndpointSlice') return object;
  const slice = object as EndpointSlice;
  return {
    ...slice,
    apiVersion: 'discovery.k8s.io/v1beta1',
    endpoints: slice.endpoints?.map(({ addresses, conditions, nodeName }) => ({
      addresses,
      conditions: { ready: conditions?.ready },
      topology: { 'kubernetes.io/hostname': nodeName },
    })),
  } as unknown as KubeObject;
}

const server = createServer(({ url = '', method }, response) => {
  const { pathname, searchParams } = new URL(url, 'http://api');
  const send = (code: number, body: object) =>
    response.writeHead(code, { 'content-type': 'application/json' }).end(JSON.stringify(body));
  const collection = COLLECTIONS[pathname];
  const node = /^\/api\/v1\/nodes\/(.+)$/.exec(pathname)?.[1];
  const notFound = { kind: 'Status', apiVersion: 'v1', status: 'Failure', reason: 'NotFound', code: 404 };
  if (method === 'POST') send(201, { kind: 'Event', apiVersion: 'v1', metadata: { name: 'taken' } });
  else if (node) send(200, objects.get(`Node undefined/${node}`) ?? notFound);
  else if (!collection) send(404, notFound);
  else if (searchParams.has('watch')) watch(collection.kind, Number(searchParams.get('resourceVersion')), response);
  else {
    const items = [...objects.values()].filter(({ kind }) => kind === collection.kind);
    send(200, { ...collection, kind: `${collection.kind}List`, metadata: { resourceVersion: String(version) }, items });
  }
});

/** kube-proxy leaves these two out by a selector. */
function isSelected({ labels = {} }: KubeObject['metadata']): boolean {
  return !('service.kubernetes.io/service-proxy-name' in labels) && !('service.kubernetes.io/headless' in labels);
}

function watch(kind: string, after: number, response: ServerResponse): void {
  response.writeHead(200, { 'content-type': 'application/json' });
  response.flushHeaders();
  for (const entry of log) if (entry.kind === kind && entry.version > after) response.write(entry.text);
  const ofKind = watchers.get(kind) ?? new Set();
  watchers.set(kind, ofKind.add(response));
  response.on('close', () => ofKind.delete(response));
}

server.listen(Number(process.argv[2]), '127.0.0.1', () => process.send!('ready'));
