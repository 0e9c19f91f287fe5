import type { ServerResponse } from 'node:http';
import type { Pod } from '../../../src/kube/types.ts';
import { joinConnections } from '../../../src/streaming/join.ts';
import type { ConnectSubresource, ConnectSubresourceRequest } from '../definition.ts';
import { isTrue } from '../request-info.ts';
import { badRequest, StatusError } from '../status-error.ts';
import type { NodeConnection } from './node-connection.ts';
import { chooseContainer, refusal } from './pod-log.ts';

/** What a client and a node tell each other about the protocol they are about to speak. */
const PASSED_ON = /^(connection|upgrade|x-stream-protocol-version|sec-websocket-.*|user-agent|origin)$/i;
/** A client's names of PodExecOptions, and the nodes' own. */
const STREAM_FLAGS = { stdin: 'input', stdout: 'output', stderr: 'error', tty: 'tty' };

/** pods/exec and pods/attach: the agent of the pod's node speaks to the client itself, through us. */
export function podCommandSubresource(kind: 'exec' | 'attach', nodes: NodeConnection): ConnectSubresource<Pod> {
  return {
    style: 'connect',
    optionsKind: kind === 'exec' ? 'PodExecOptions' : 'PodAttachOptions',
    verbs: ['create', 'get'],
    async connect(request) {
      const { object: pod, query } = request;
      const { name, namespace } = pod.metadata;
      const container = chooseContainer(pod, query.get('container'));
      const passed = new URLSearchParams();
      for (const [flag, its] of Object.entries(STREAM_FLAGS))
        if (query.has(flag) && isTrue(query.get(flag))) passed.set(its, '1');
      if (kind === 'exec') for (const word of query.getAll('command')) passed.append('command', word);
      await relay(
        nodes,
        request,
        `/${kind}/${[namespace!, name, container].map(encodeURIComponent).join('/')}`,
        passed,
      );
    },
  };
}

/** pods/portforward. */
export function podPortForwardSubresource(nodes: NodeConnection): ConnectSubresource<Pod> {
  return {
    style: 'connect',
    optionsKind: 'PodPortForwardOptions',
    verbs: ['create', 'get'],
    async connect(request) {
      const { name, namespace } = request.object.metadata;
      const passed = new URLSearchParams();
      for (const ports of request.query.getAll('ports'))
        for (const port of ports.split(',')) passed.append('port', port);
      await relay(nodes, request, `/portForward/${[namespace!, name].map(encodeURIComponent).join('/')}`, passed);
    },
  };
}

/**
 * Asks the node for the same upgrade, and when it agrees joins the two connections: nothing of what is said is read or held here, so that
 * one side's slowness is felt by the other. Ends when both have hung up.
 */
async function relay(
  nodes: NodeConnection,
  { object: pod, request, response, upgrade, context, signal }: ConnectSubresourceRequest<Pod>,
  path: string,
  query: URLSearchParams,
): Promise<void> {
  if (!upgrade) throw badRequest('Upgrade request required');
  if (!pod.spec.nodeName) throw badRequest(`pod ${pod.metadata.name} does not have a host assigned`);
  const headers: Record<string, string | string[]> = {};
  for (const [name, values = []] of Object.entries(
    (request as { headersDistinct: NodeJS.Dict<string[]> }).headersDistinct,
  ))
    if (PASSED_ON.test(name)) headers[name] = values.length === 1 ? values[0]! : values;
  const method = request.method ?? 'POST';
  const answer = await nodes.upgrade(
    pod.spec.nodeName,
    { method, path, query, headers },
    { objects: context.objects, signal },
  );
  if ('refused' in answer)
    throw answer.refused < 400 ? redirected(pod.spec.nodeName) : await refusal(answer.refused, answer.body);
  const client = upgrade.socket;
  const out = response as ServerResponse;
  out.statusCode = 101;
  out.detachSocket(client as never);
  client.write(`HTTP/1.1 101 Switching Protocols\r\n${answer.rawHeaders}\r\n`);
  if (upgrade.head.length > 0) answer.socket.write(upgrade.head);
  if (answer.head.length > 0) client.write(answer.head);
  await joinConnections(client, answer.socket, signal);
}

/** A node that sends its callers elsewhere is not obeyed (CVE-2020-8559). */
const redirected = (node: string) =>
  new StatusError(502, 'InternalError', `the agent of node ${node} answered with a redirect, which is not followed`);
