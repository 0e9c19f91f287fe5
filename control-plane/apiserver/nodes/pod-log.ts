import type { ServerResponse } from 'node:http';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { Pod } from '../../../src/kube/types.ts';
import type { ConnectSubresource } from '../definition.ts';
import { type FieldError, forbidden, invalid, notSupported } from '../field-error.ts';
import { isTrue } from '../request-info.ts';
import { badRequest, internalError, invalidObject, StatusError } from '../status-error.ts';
import type { NodeConnection } from './node-connection.ts';

const REASONS: Readonly<Record<number, string>> = { 400: 'BadRequest', 404: 'NotFound', 403: 'Forbidden' };
const ERROR_TEXT_LIMIT_BYTES = 2048;

/** pods/log: asks the agent of the pod's node and passes its text on as it comes. */
export function podLogSubresource(nodes: NodeConnection): ConnectSubresource<Pod> {
  return {
    style: 'connect',
    verbs: ['get'],
    async connect({ object: pod, query, context, response, signal }) {
      assertLogOptions(query);
      const { name, namespace } = pod.metadata;
      const container = chooseContainer(pod, query.get('container'));
      const out = response as ServerResponse;
      // Not on a node yet: nothing was written.
      if (!pod.spec.nodeName) {
        out.writeHead(200, { 'content-type': 'text/plain' }).end();
        return;
      }
      const path = `/containerLogs/${[namespace!, name, container].map(encodeURIComponent).join('/')}`;
      const answer = await nodes.get(pod.spec.nodeName, path, agentQuery(query), { objects: context.objects, signal });
      if (answer.status < 200 || answer.status > 206) throw await refusal(answer.status, answer.body);
      out.writeHead(200, { 'content-type': answer.contentType ?? 'text/plain', 'x-content-type-options': 'nosniff' });
      // The reader gets the head at once; the first line may be long in coming.
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

/** The container meant; one that is named must exist, one that is not must be the only one. */
export function chooseContainer(pod: Pod, asked: string | null): string {
  const { name } = pod.metadata;
  const { containers, initContainers = [], ephemeralContainers = [] } = pod.spec;
  const all = [...containers, ...initContainers, ...ephemeralContainers].map((container) => container.name);
  if (asked) {
    if (!all.includes(asked)) throw badRequest(`container ${asked} is not valid for pod ${name}`);
    return asked;
  }
  if (containers.length === 1) return containers[0]!.name;
  const names = (list: readonly { name: string }[]) => `[${list.map((container) => container.name).join(' ')}]`;
  const init = initContainers.length > 0 ? ` or one of the init containers: ${names(initContainers)}` : '';
  throw badRequest(`a container name must be specified for pod ${name}, choose one of: ${names(containers)}${init}`);
}

/** ValidatePodLogOptions. */
function assertLogOptions(query: URLSearchParams): void {
  const errors: FieldError[] = [];
  const number = (field: string, least: number) => {
    const text = query.get(field);
    if (text === null || text === '') return;
    if (!/^-?\d+$/.test(text)) throw badRequest(`${field}: Invalid value: ${JSON.stringify(text)}: must be an integer`);
    const rule = least === 0 ? 'must be greater than or equal to 0' : 'must be greater than 0';
    if (Number(text) < least) errors.push(invalid(field, Number(text), rule));
  };
  number('tailLines', 0);
  number('limitBytes', 1);
  number('sinceSeconds', 1);
  if (query.get('sinceSeconds') && query.get('sinceTime'))
    errors.push(forbidden('', 'at most one of `sinceTime` or `sinceSeconds` may be specified'));
  const stream = query.get('stream');
  if (stream && !['All', 'Stdout', 'Stderr'].includes(stream))
    errors.push(notSupported('stream', stream, ['All', 'Stdout', 'Stderr']));
  if (errors.length > 0) throw invalidObject({ group: '', plural: '', kind: 'PodLogOptions' }, '', errors);
}

const PASSED_ON = ['sinceSeconds', 'sinceTime', 'tailLines', 'limitBytes', 'stream'];

function agentQuery(query: URLSearchParams): URLSearchParams {
  const passed = new URLSearchParams();
  for (const flag of ['follow', 'previous', 'timestamps'])
    if (query.has(flag) && isTrue(query.get(flag))) passed.set(flag, 'true');
  for (const key of PASSED_ON) {
    const value = query.get(key);
    if (value) passed.set(key, value);
  }
  return passed;
}

/** The agent's words become the Status message. */
export async function refusal(code: number, body: Readable): Promise<StatusError> {
  let text = '';
  for await (const chunk of body) {
    text += chunk;
    if (text.length > ERROR_TEXT_LIMIT_BYTES) break;
  }
  const message = text.trim().slice(0, ERROR_TEXT_LIMIT_BYTES) || `the node's agent answered ${code}`;
  if (code >= 500) return internalError(message);
  return new StatusError(code, REASONS[code] ?? 'Unknown', message);
}
