import { STATUS_CODES } from 'node:http';
import type { Container } from '../../src/kube/types.ts';
import type { CommandRequest } from '../../src/streaming/command/streams.ts';
import type { PodDirectory } from '../pods/ports.ts';

/** An answer to a request that cannot be served, before its connection changes protocols. */
export class StreamRefusal extends Error {
  override readonly name = 'StreamRefusal';
  readonly statusCode: number;
  readonly reason: string;
  constructor(statusCode: number, message: string) {
    super(message);
    this.statusCode = statusCode;
    this.reason = STATUS_CODES[statusCode] ?? 'Error';
  }
}

export interface StreamPath {
  kind: 'exec' | 'attach' | 'portForward';
  namespace: string;
  pod: string;
  uid?: string;
  /** Empty for portForward. */
  container: string;
}

/** `/exec/NAMESPACE/POD[/UID]/CONTAINER`, `/attach/…`, `/portForward/NAMESPACE/POD[/UID]`. Throws StreamRefusal. */
export function parseStreamPath(pathname: string): StreamPath {
  const [, kind, ...rest] = pathname.split('/').map((part) => decode(part));
  const [namespace, pod, third, fourth, ...more] = rest;
  if (!namespace || !pod || more.length > 0) throw new StreamRefusal(404, `404 page not found: ${pathname}`);
  if (kind === 'portForward') {
    if (fourth !== undefined) throw new StreamRefusal(404, `404 page not found: ${pathname}`);
    return { kind, namespace, pod, ...(third && { uid: third }), container: '' };
  }
  const container = fourth ?? third;
  if ((kind !== 'exec' && kind !== 'attach') || !container)
    throw new StreamRefusal(404, `404 page not found: ${pathname}`);
  return { kind, namespace, pod, ...(fourth !== undefined && third && { uid: third }), container };
}

function decode(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    throw new StreamRefusal(400, `the path has a malformed escape: ${part}`);
  }
}

/** The running container that is meant. Throws StreamRefusal. */
export function chooseTarget(
  pods: PodDirectory,
  { namespace, pod: podName, uid, container: name }: StreamPath,
): { containerId: string; tty: boolean; stdinOnce: boolean } {
  const pod = pods.get(namespace, podName);
  if (!pod || (uid !== undefined && pod.metadata.uid !== uid)) throw new StreamRefusal(404, 'pod does not exist');
  const { containers, initContainers = [], ephemeralContainers = [] } = pod.spec;
  const spec = ([...containers, ...initContainers, ...ephemeralContainers] as Container[]).find(
    (one) => one.name === name,
  );
  if (!spec) throw new StreamRefusal(404, `container not found ("${name}")`);
  const running = pods
    .runtime(pod.metadata.uid)
    ?.containers.find((one) => one.name === name && one.state === 'running');
  if (!running) throw new StreamRefusal(400, `container "${name}" in pod "${podName}" is not running`);
  return { containerId: running.id, tty: spec.tty ?? false, stdinOnce: spec.stdinOnce ?? false };
}

/** Which streams the query asks for; `tty` stands for the query's where the container itself decides. Throws StreamRefusal. */
export function parseCommandRequest(query: URLSearchParams, tty?: boolean): CommandRequest {
  const is = (...names: string[]) => names.some((name) => ['1', 'true'].includes(query.get(name) ?? ''));
  const request = {
    stdin: is('input', 'stdin'),
    stdout: is('output', 'stdout'),
    stderr: is('error', 'stderr'),
    tty: tty ?? is('tty'),
  };
  // A terminal has one output.
  if (request.tty) request.stderr = false;
  if (!request.stdin && !request.stdout && !request.stderr)
    throw new StreamRefusal(400, 'you must specify at least 1 of stdin, stdout, stderr');
  return request;
}
