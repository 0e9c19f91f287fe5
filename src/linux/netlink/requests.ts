import { NLM_F_DUMP } from './constants.ts';
import type { NetlinkRequest, NetlinkSocket } from './socket.ts';

/** Everything of a kind. */
export function dump(socket: NetlinkSocket, operation: string, type: number, header: Uint8Array): Promise<Buffer[]> {
  return socket.request({ operation, type, flags: NLM_F_DUMP, body: [header] });
}

/** For what has no answer but that it is done. */
export function acknowledged(socket: NetlinkSocket) {
  return async (request: NetlinkRequest) => {
    await socket.request(request);
  };
}
