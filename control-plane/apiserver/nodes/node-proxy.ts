import type { IncomingMessage, ServerResponse } from 'node:http';
import { pipeline } from 'node:stream/promises';
import type { Node } from '../../../src/kube/types.ts';
import type { ConnectSubresource } from '../definition.ts';
import { answerHeaders, passedOn, specialAddress } from '../proxies/headers.ts';
import { badRequest, StatusError } from '../status-error.ts';
import { agentOrigin, type NodeConnection } from './node-connection.ts';

/** nodes/proxy: any path of a node's own HTTPS port, for who may do everything there: `kubectl get --raw /api/v1/nodes/NAME/proxy/stats/summary`. */
export function nodeProxySubresource(nodes: NodeConnection): ConnectSubresource<Node> {
  return {
    style: 'connect',
    optionsKind: 'NodeProxyOptions',
    verbs: ['get', 'create', 'update', 'patch', 'delete'],
    takesPath: true,
    async connect({ object: node, path, query, request, response, upgrade, context, signal }) {
      await refuseSpecialAddress(node);
      if (upgrade)
        throw badRequest(
          'connections through nodes/proxy do not change their protocol: use pods/exec, pods/attach, pods/portforward',
        );
      const incoming = request as IncomingMessage;
      const answer = await nodes.request(
        node.metadata.name,
        { method: incoming.method ?? 'GET', path, query, headers: passedOn(incoming), body: incoming },
        { objects: context.objects, signal },
      );
      const location = answer.headers['location'];
      if (answer.status >= 300 && answer.status < 400 && !isBelow(location)) throw redirected(node.metadata.name);
      const out = response as ServerResponse;
      out.writeHead(answer.status, { ...answerHeaders(answer.headers), 'x-content-type-options': 'nosniff' });
      if (!('stream' in response)) out.flushHeaders();
      try {
        await pipeline(answer.body, out, { signal });
      } catch (error) {
        // The client left, or the node broke off: the missing end of the stream tells the client.
        if (!signal.aborted) out.destroy(error as Error);
      }
    },
  };
}

/** A Node whose object says that it lives on the API server's own loopback would make a way into this host (CVE-2022-3294). */
async function refuseSpecialAddress(node: Node): Promise<void> {
  const host = new URL(agentOrigin(node)).hostname.replace(/^\[|\]$/g, '');
  const special = await specialAddress(host);
  if (special !== undefined)
    throw badRequest(
      `address not allowed: node ${node.metadata.name} says that it is at ${host}${special === host ? '' : ` (${special})`}`,
    );
}

/** A redirect to a place below where one is (a directory's own slash) stays with the node; any other would send the caller with his credentials to where the node likes. */
function isBelow(location: string | string[] | undefined): boolean {
  return typeof location === 'string' && /^(?!\/)[^:/\\?#]+\/?$/.test(location) && !location.startsWith('..');
}

/** CVE-2020-8559, CVE-2022-3172. */
const redirected = (node: string) =>
  new StatusError(502, 'InternalError', `the agent of node ${node} answered with a redirect, which is not passed on`);
