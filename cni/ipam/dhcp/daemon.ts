import type { Logger } from '../../../src/runtime/log.ts';
import { CNI_ERROR, CniError } from '../../types.ts';
import { type DaemonCall, METHOD, parseCall, RESULT, renderDaemonResult } from './daemon-words.ts';
import type { DhcpConfig, LeaseHolder } from './lease-holder.ts';
import { NOTHING } from './rpc/headers.ts';
import { createRpcServer, type Given, type Method, type RpcServer } from './rpc/server.ts';

export interface DhcpDaemonDependencies {
  /** Reads the JSON of a configuration and CNI_ARGS. @throws CniError. */
  parse(conf: string, args: string): DhcpConfig;
  log: Logger;
}

const DONE: Given = { schema: NOTHING, value: {} };

/**
 * Answers plugins that run for one call: ours and the reference one (`daemon-words.ts`). Whoever reaches the socket is trusted with it; it is
 * root's.
 * @param options.hostPrefix stands before paths of namespaces, for a daemon in a container that sees the host's files there
 */
export function createDhcpDaemon(
  holder: LeaseHolder,
  options: { hostPrefix: string },
  { parse, log }: DhcpDaemonDependencies,
): RpcServer {
  const requestOf = ({ containerId, ifname, netns }: DaemonCall) => {
    if (containerId === '' || ifname === '')
      throw new CniError(CNI_ERROR.decodeFailure, 'dhcp: a call of the plugin needs ContainerID and IfName');
    return { containerId, ifname, netns: options.hostPrefix + netns, args: {} };
  };

  const methods: Record<string, (call: DaemonCall, gone: AbortSignal) => Promise<Given>> = {
    async [METHOD.allocate](call, gone) {
      const result = await holder.allocate(parse(call.conf, call.args), requestOf(call), gone);
      return { schema: RESULT, value: renderDaemonResult(result) };
    },
    async [METHOD.release](call) {
      await holder.release(parse(call.conf, call.args), requestOf(call));
      return DONE;
    },
    async [METHOD.check](call) {
      await holder.check(parse(call.conf, call.args), requestOf(call), call.address);
      return DONE;
    },
    async [METHOD.gc](call) {
      await holder.collect(parse(call.conf, call.args), call.valid ?? []);
      return DONE;
    },
    [METHOD.status]: async () => DONE,
  };
  const byName = Object.entries(methods).map(([name, method]): [string, Method] => [
    name,
    async (args, gone) => method(parseCall(args), gone),
  ]);
  return createRpcServer(new Map(byName), { log });
}
