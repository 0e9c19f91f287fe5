import type { Attribute } from '../linux/netlink/attributes.ts';
import { NLM_F_DUMP } from '../linux/netlink/constants.ts';
import { findGenericFamily, genericHeader, NETLINK_GENERIC } from '../linux/netlink/generic.ts';
import { openNetlinkSocket } from '../linux/netlink/socket.ts';
import { runInSlices } from '../runtime/slices.ts';
import {
  COMMAND,
  decodeRealServer,
  decodeVirtualServer,
  encodeRealServer,
  encodeTimeouts,
  encodeVirtualServer,
  encodeVirtualServerId,
  type IpvsTimeouts,
  type RealServer,
  type RealServerState,
  type VirtualServer,
  type VirtualServerId,
} from './ipvs-messages.ts';

/**
 * The kernel's load balancer in one network namespace. Every change is one message; there are no transactions. All throw
 * NetlinkError with the kernel's errno name.
 */
export interface Ipvs {
  /** Of both families; without those that are found by packet mark. */
  listServers(signal?: AbortSignal): Promise<VirtualServer[]>;
  /** None, too, when there is no such virtual server. */
  listRealServers(server: VirtualServerId): Promise<RealServerState[]>;
  /** EEXIST when it is there; ENOENT when the kernel has no such scheduler; EAFNOSUPPORT without IPv6 in IPVS. */
  addServer(server: VirtualServer): Promise<void>;
  /** Changes scheduler, flags and timeout; connections and real servers stay. ESRCH when it is not there. */
  editServer(server: VirtualServer): Promise<void>;
  /** With its real servers. ESRCH when it is not there. */
  deleteServer(server: VirtualServerId): Promise<void>;
  /** EEXIST when it is there. */
  addRealServer(server: VirtualServerId, real: RealServer): Promise<void>;
  /** ENOENT when it is not there. */
  editRealServer(server: VirtualServerId, real: RealServer): Promise<void>;
  /** Its connections end with their next packet (expire_nodest_conn). ENOENT when it is not there. */
  deleteRealServer(server: VirtualServerId, real: Omit<RealServer, 'weight'>): Promise<void>;
  /** As `ipvsadm --set`. */
  setTimeouts(timeouts: IpvsTimeouts): Promise<void>;
  close(): void;
}

/** A kernel without IPVS, built in or as a module that can be loaded. */
export class NoIpvsError extends Error {
  override readonly name = 'NoIpvsError';
}

/**
 * Opens IPVS of our network namespace or of the one at `netns`; the kernel loads its module ip_vs for that.
 * @throws NoIpvsError when the kernel has none
 */
export async function openIpvs(netns?: string): Promise<Ipvs> {
  const socket = openNetlinkSocket(NETLINK_GENERIC, netns);
  const type = await findGenericFamily(socket, 'IPVS').catch((error: unknown) => {
    socket.close();
    throw error;
  });
  if (type === undefined) {
    socket.close();
    throw new NoIpvsError('the kernel has no IPVS (generic netlink family "IPVS"): it needs the module ip_vs');
  }
  const name = ({ protocol, address, port }: VirtualServerId) =>
    `${protocol} ${address.includes(':') ? `[${address}]` : address}:${port}`;
  const dump = (operation: string, command: number, attributes: Attribute[]) =>
    socket.request({ operation, type, flags: NLM_F_DUMP, body: [genericHeader(command), ...attributes.flat()] });
  const send = async (operation: string, command: number, attributes: Attribute[]) => {
    await socket.request({ operation, type, body: [genericHeader(command), ...attributes.flat()] });
  };
  const sendReal =
    (verb: string, command: number) =>
    (server: VirtualServerId, real: Omit<RealServer, 'weight'> & { weight?: number }) =>
      send(`${verb} real server ${real.address} port ${real.port} of ${name(server)}`, command, [
        encodeVirtualServerId(server),
        encodeRealServer({ weight: 0, ...real }),
      ]);
  return {
    async listServers(signal) {
      const bodies = await dump('list virtual servers', COMMAND.getService, []);
      return runInSlices(decodeSteps(bodies), signal);
    },
    async listRealServers(server) {
      const bodies = await dump(`list real servers of ${name(server)}`, COMMAND.getDestination, [
        encodeVirtualServerId(server),
      ]);
      const isV6 = server.address.includes(':');
      return bodies.flatMap((body) => decodeRealServer(body, isV6) ?? []);
    },
    addServer: (server) =>
      send(`add virtual server ${name(server)} (${server.scheduler})`, COMMAND.newService, [
        encodeVirtualServer(server),
      ]),
    editServer: (server) =>
      send(`change virtual server ${name(server)} (${server.scheduler})`, COMMAND.setService, [
        encodeVirtualServer(server),
      ]),
    deleteServer: (server) =>
      send(`delete virtual server ${name(server)}`, COMMAND.deleteService, [encodeVirtualServerId(server)]),
    addRealServer: sendReal('add', COMMAND.newDestination),
    editRealServer: sendReal('change', COMMAND.setDestination),
    deleteRealServer: sendReal('delete', COMMAND.deleteDestination),
    setTimeouts: (timeouts) => send('set IPVS timeouts', COMMAND.setConfig, encodeTimeouts(timeouts)),
    close: () => socket.close(),
  };
}

const SERVERS_A_STEP = 50;

function* decodeSteps(bodies: readonly Buffer[]): Generator<void, VirtualServer[]> {
  const servers: VirtualServer[] = [];
  for (const [count, body] of bodies.entries()) {
    if (count % SERVERS_A_STEP === SERVERS_A_STEP - 1) yield;
    const server = decodeVirtualServer(body);
    if (server) servers.push(server);
  }
  return servers;
}
