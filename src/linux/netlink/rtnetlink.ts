import { type Address, type AddressSpec, decodeAddress, encodeAddress } from './addresses.ts';
import {
  AF_INET,
  AF_INET6,
  AF_UNSPEC,
  NETLINK_ROUTE,
  NLM_F_CREATE,
  NLM_F_EXCL,
  NLM_F_REPLACE,
  RTM_DELADDR,
  RTM_DELNEIGH,
  RTM_DELROUTE,
  RTM_GETADDR,
  RTM_GETNEIGH,
  RTM_GETROUTE,
  RTM_NEWADDR,
  RTM_NEWNEIGH,
  RTM_NEWROUTE,
} from './constants.ts';
import { type LinkOperations, linkOperations } from './link-operations.ts';
import { decodeNeighbour, encodeNeighbour, type Neighbour, type NeighbourState } from './neighbours.ts';
import { acknowledged, dump } from './requests.ts';
import { decodeRoute, encodeRoute, type Route, type RouteSpec } from './routes.ts';
import { type NetlinkRequest, type NetlinkSocket, openNetlinkSocket } from './socket.ts';

/**
 * Links, addresses, routes and neighbours of one network namespace. Every call is one message to the kernel;
 * calls made without awaiting in between are carried out in order, so independent ones may be sent together.
 * All throw NetlinkError with the kernel's errno name.
 */
export interface Rtnetlink extends LinkOperations {
  listAddresses(filter?: { linkIndex?: number; family?: 4 | 6 }): Promise<Address[]>;
  /** EEXIST when the link has it. */
  addAddress(spec: AddressSpec): Promise<void>;
  /** EADDRNOTAVAIL when the link has it not. */
  deleteAddress(spec: AddressSpec): Promise<void>;

  listRoutes(filter?: { family?: 4 | 6; table?: number; protocol?: number }): Promise<Route[]>;
  /** EEXIST when there is one of the same destination, metric and table; ENETUNREACH when its gateway is not reachable. */
  addRoute(spec: RouteSpec): Promise<void>;
  /** Adds before those of the same destination and metric by other ways: the new one is used while it works. EEXIST for the same way. */
  prependRoute(spec: RouteSpec): Promise<void>;
  /** Adds, or takes the place of the one of the same destination, metric and table. */
  replaceRoute(spec: RouteSpec): Promise<void>;
  /** What is left out matches anything. ESRCH when nothing matches. */
  deleteRoute(spec: RouteSpec): Promise<void>;

  listNeighbours(filter?: { linkIndex?: number; family?: 4 | 6 }): Promise<Neighbour[]>;
  /** Adds or overwrites; permanent unless said otherwise. */
  setNeighbour(entry: { linkIndex: number; address: string; mac: string; state?: NeighbourState }): Promise<void>;
  /** ENOENT when there is none. */
  deleteNeighbour(entry: { linkIndex: number; address: string }): Promise<void>;

  /** For messages that have a file of their own (queueing, rules, forwarding entries): the bodies of the answer. */
  request(request: NetlinkRequest): Promise<Buffer[]>;

  close(): void;
}

/**
 * Opens a route socket in our network namespace, or in the one at `netns` (`/proc/<pid>/ns/net`, `/run/netns/<name>`).
 * @throws ENOENT when that namespace is gone, EPERM without CAP_SYS_ADMIN.
 */
export function openRtnetlink(netns?: string): Rtnetlink {
  const socket = openNetlinkSocket(NETLINK_ROUTE, netns);
  return {
    ...linkOperations(socket),
    ...addressOperations(socket),
    ...routeOperations(socket),
    ...neighbourOperations(socket),
    request: (request) => socket.request(request),
    close: () => socket.close(),
  };
}

function familyHeader(length: number, family: 4 | 6 | undefined): Buffer {
  const header = Buffer.alloc(length);
  header[0] = family === 4 ? AF_INET : family === 6 ? AF_INET6 : AF_UNSPEC;
  return header;
}

function defined<T>(value: T | undefined): value is T {
  return value !== undefined;
}

function addressOperations(socket: NetlinkSocket) {
  const send = acknowledged(socket);
  return {
    async listAddresses(filter: { linkIndex?: number; family?: 4 | 6 } = {}) {
      const bodies = await dump(socket, 'list addresses', RTM_GETADDR, familyHeader(8, filter.family));
      return bodies
        .map(decodeAddress)
        .filter(defined)
        .filter((one) => filter.linkIndex === undefined || one.linkIndex === filter.linkIndex);
    },
    addAddress: (spec: AddressSpec) =>
      send({
        operation: `add address ${spec.address} to link ${spec.linkIndex}`,
        type: RTM_NEWADDR,
        flags: NLM_F_CREATE | NLM_F_EXCL,
        body: encodeAddress(spec),
      }),
    deleteAddress: (spec: AddressSpec) =>
      send({
        operation: `delete address ${spec.address} of link ${spec.linkIndex}`,
        type: RTM_DELADDR,
        body: encodeAddress(spec),
      }),
  };
}

function routeOperations(socket: NetlinkSocket) {
  const send = acknowledged(socket);
  const name = (spec: RouteSpec) =>
    `${spec.type ?? 'unicast'} route ${spec.destination}${spec.gateway ? ` via ${spec.gateway}` : ''}`;
  return {
    async listRoutes(filter: { family?: 4 | 6; table?: number; protocol?: number } = {}) {
      const bodies = await dump(socket, 'list routes', RTM_GETROUTE, familyHeader(12, filter.family));
      return bodies
        .map(decodeRoute)
        .filter(defined)
        .filter(
          (route) =>
            (filter.table === undefined || route.table === filter.table) &&
            (filter.protocol === undefined || route.protocol === filter.protocol),
        );
    },
    addRoute: (spec: RouteSpec) =>
      send({
        operation: `add ${name(spec)}`,
        type: RTM_NEWROUTE,
        flags: NLM_F_CREATE | NLM_F_EXCL,
        body: encodeRoute(spec, 'add'),
      }),
    prependRoute: (spec: RouteSpec) =>
      send({
        operation: `prepend ${name(spec)}`,
        type: RTM_NEWROUTE,
        flags: NLM_F_CREATE,
        body: encodeRoute(spec, 'add'),
      }),
    replaceRoute: (spec: RouteSpec) =>
      send({
        operation: `replace ${name(spec)}`,
        type: RTM_NEWROUTE,
        flags: NLM_F_CREATE | NLM_F_REPLACE,
        body: encodeRoute(spec, 'add'),
      }),
    deleteRoute: (spec: RouteSpec) =>
      send({ operation: `delete ${name(spec)}`, type: RTM_DELROUTE, body: encodeRoute(spec, 'delete') }),
  };
}

function neighbourOperations(socket: NetlinkSocket) {
  const send = acknowledged(socket);
  return {
    async listNeighbours(filter: { linkIndex?: number; family?: 4 | 6 } = {}) {
      const bodies = await dump(socket, 'list neighbours', RTM_GETNEIGH, familyHeader(12, filter.family));
      return bodies
        .map(decodeNeighbour)
        .filter(defined)
        .filter((one) => filter.linkIndex === undefined || one.linkIndex === filter.linkIndex);
    },
    setNeighbour: (entry: { linkIndex: number; address: string; mac: string; state?: NeighbourState }) =>
      send({
        operation: `set neighbour ${entry.address} on link ${entry.linkIndex}`,
        type: RTM_NEWNEIGH,
        flags: NLM_F_CREATE | NLM_F_REPLACE,
        body: encodeNeighbour(entry),
      }),
    deleteNeighbour: (entry: { linkIndex: number; address: string }) =>
      send({
        operation: `delete neighbour ${entry.address} of link ${entry.linkIndex}`,
        type: RTM_DELNEIGH,
        body: encodeNeighbour({ ...entry, state: 'none' }),
      }),
  };
}
