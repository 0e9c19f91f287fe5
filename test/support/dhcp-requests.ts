import type { ExecutionContext } from 'ava';
import { CLIENT_FILTER, CLIENT_PORT, parseDatagram, SERVER_PORT } from '../../cni/ipam/dhcp/datagram.ts';
import { type DhcpMessage, parseMessage } from '../../cni/ipam/dhcp/message.ts';
import { openRtnetlink } from '../../src/linux/netlink/rtnetlink.ts';
import { type FilterInstruction, openPacketSocket } from '../../src/linux/packet-socket.ts';
import type { TestNetns } from './netns.ts';

const SERVER_FILTER = CLIENT_FILTER.map(
  ([code, whenTrue, whenFalse, operand]): FilterInstruction => [
    code,
    whenTrue,
    whenFalse,
    operand === CLIENT_PORT ? SERVER_PORT : operand,
  ],
);

/**
 * What DHCP clients say to the server behind a link of `netns`, from now on.
 * @returns what came since the last call
 */
export async function hearRequests(t: ExecutionContext, netns: TestNetns, link: string): Promise<() => DhcpMessage[]> {
  const route = openRtnetlink(netns.path);
  const found = await route.getLink(link).finally(() => route.close());
  const socket = openPacketSocket({ netns: netns.path, linkIndex: found!.index, filter: SERVER_FILTER });
  t.teardown(() => socket.close());
  return () => {
    const messages: DhcpMessage[] = [];
    for (let packet = socket.receive(); packet; packet = socket.receive()) {
      const datagram = parseDatagram(packet);
      const message = datagram && parseMessage(datagram.payload);
      if (message) messages.push(message);
    }
    return messages;
  };
}
