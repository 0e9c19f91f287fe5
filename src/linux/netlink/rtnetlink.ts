import { closeSync, openSync } from 'node:fs';
import { hasLink } from '../libc.ts';
import { type Address, type AddressSpec, decodeAddress, encodeAddress } from './addresses.ts';
import { text } from './attributes.ts';
import {
  AF_INET,
  AF_INET6,
  AF_UNSPEC,
  IFLA_IFNAME,
  NETLINK_ROUTE,
  NLM_F_APPEND,
  NLM_F_CREATE,
  NLM_F_DUMP,
  NLM_F_EXCL,
  NLM_F_REPLACE,
  RTM_DELADDR,
  RTM_DELLINK,
  RTM_DELNEIGH,
  RTM_DELROUTE,
  RTM_GETADDR,
  RTM_GETLINK,
  RTM_GETNEIGH,
  RTM_GETROUTE,
  RTM_NEWADDR,
  RTM_NEWLINK,
  RTM_NEWNEIGH,
  RTM_NEWROUTE,
} from './constants.ts';
import {
  type BridgeSpec,
  decodeLink,
  encodeBridge,
  encodeLink,
  encodeLinkChange,
  encodeVeth,
  type Link,
  type LinkChange,
  type LinkSpec,
  linkHeader,
  type VethSpec,
} from './links.ts';
import { decodeNeighbour, encodeNeighbour, type Neighbour, type NeighbourState } from './neighbours.ts';
import { decodeRoute, encodeRoute, type Route, type RouteSpec } from './routes.ts';
import { isNetlinkError, NetlinkError, type NetlinkRequest, type NetlinkSocket, openNetlinkSocket } from './socket.ts';

/**
 * Links, addresses, routes and neighbours of one network namespace. Every call is one message to the kernel;
 * calls made without awaiting in between are carried out in order, so independent ones may be sent together.
 * All throw NetlinkError with the kernel's errno name.
 */
export interface Rtnetlink {
  listLinks(): Promise<Link[]>;
  /** By index or by name; undefined when there is none. */
  getLink(target: number | string): Promise<Link | undefined>;
  /** EEXIST when the name is taken. */
  createBridge(spec: BridgeSpec): Promise<void>;
  /**
   * Both ends in one step; the peer in the namespace at `peer.netns`. EEXIST when one of the names is taken. `change` is what the first end
   * is told right after, with nothing in between.
   */
  createVeth(
    spec: Omit<VethSpec, 'peer'> & {
      peer: Omit<VethSpec['peer'], 'netnsFd'> & { netns?: string };
      change?: LinkChange;
    },
  ): Promise<void>;
  /** Any other kind; in the namespace at `netns` where one is given. EEXIST when the name is taken, EOPNOTSUPP for a kind that the kernel lacks. */
  createLink(spec: Omit<LinkSpec, 'netnsFd'> & { netns?: string }): Promise<void>;
  setLink(target: number | string, change: Omit<LinkChange, 'netnsFd'> & { netns?: string }): Promise<void>;
  /** A veth's other end goes with it. ENODEV when there is none. Done off the main thread, not in order with other requests; resolves when no namespace lists the link any more. */
  deleteLink(target: number | string): Promise<void>;

  listAddresses(filter?: { linkIndex?: number; family?: 4 | 6 }): Promise<Address[]>;
  /** EEXIST when the link has it. */
  addAddress(spec: AddressSpec): Promise<void>;
  /** EADDRNOTAVAIL when the link has it not. */
  deleteAddress(spec: AddressSpec): Promise<void>;

  listRoutes(filter?: { family?: 4 | 6; table?: number; protocol?: number }): Promise<Route[]>;
  /** EEXIST when there is one of the same destination, metric and table; ENETUNREACH when its gateway is not reachable. */
  addRoute(spec: RouteSpec): Promise<void>;
  /** Adds beside those of the same destination and metric by other ways: the first one is used while it works. EEXIST for the same way. */
  appendRoute(spec: RouteSpec): Promise<void>;
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

function dump(socket: NetlinkSocket, operation: string, type: number, header: Uint8Array): Promise<Buffer[]> {
  return socket.request({ operation, type, flags: NLM_F_DUMP, body: [header] });
}

function acknowledged(socket: NetlinkSocket) {
  return async (request: NetlinkRequest) => {
    await socket.request(request);
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

function changeRequest(target: number | string, change: LinkChange, netns?: string): NetlinkRequest {
  const { netnsFd: _, ...named } = change;
  return {
    operation: `change link ${target} (${[...Object.keys(named), ...(netns ? [`move to ${netns}`] : [])].join(', ')})`,
    type: RTM_NEWLINK,
    body: encodeLinkChange(target, change),
  };
}

function byNameOrIndex(target: number | string): Uint8Array[] {
  return typeof target === 'number' ? [linkHeader(target)] : [linkHeader(0), ...text(IFLA_IFNAME, target)];
}

/** The kernel takes namespaces by descriptor. What is sent goes out before this returns, so calls stay in order. */
async function withNetnsFd(netns: string | undefined, work: (netnsFd: number | undefined) => Promise<void>) {
  if (netns === undefined) return work(undefined);
  const netnsFd = openSync(netns, 'r');
  try {
    await work(netnsFd);
  } finally {
    closeSync(netnsFd);
  }
}

function linkOperations(socket: NetlinkSocket) {
  const send = acknowledged(socket);
  const create = NLM_F_CREATE | NLM_F_EXCL;
  async function getLink(target: number | string): Promise<Link | undefined> {
    try {
      const [body] = await socket.request({
        operation: `get link ${target}`,
        type: RTM_GETLINK,
        body: byNameOrIndex(target),
      });
      return body && decodeLink(body);
    } catch (error) {
      if (isNetlinkError(error, 'ENODEV')) return undefined;
      throw error;
    }
  }
  return {
    async listLinks() {
      return (await dump(socket, 'list links', RTM_GETLINK, linkHeader(0))).map(decodeLink);
    },
    getLink,
    createBridge: (spec: BridgeSpec) =>
      send({ operation: `create bridge ${spec.name}`, type: RTM_NEWLINK, flags: create, body: encodeBridge(spec) }),
    createVeth: ({ peer: { netns, ...peer }, change, ...spec }: Parameters<Rtnetlink['createVeth']>[0]) =>
      withNetnsFd(netns, async (netnsFd) => {
        const requests = [
          {
            operation: `create veth ${spec.name} (peer ${peer.name}${netns ? ` in ${netns}` : ''})`,
            type: RTM_NEWLINK,
            flags: create,
            body: encodeVeth({ ...spec, peer: { ...peer, netnsFd } }),
          },
          ...(change ? [changeRequest(spec.name, change)] : []),
        ];
        const [made, changed] = socket.requestTogether(requests);
        changed?.catch(() => {});
        await made;
        await changed;
      }),
    createLink: ({ netns, ...spec }: Parameters<Rtnetlink['createLink']>[0]) =>
      withNetnsFd(netns, (netnsFd) =>
        send({
          operation: `create ${spec.kind} ${spec.name}${netns ? ` in ${netns}` : ''}`,
          type: RTM_NEWLINK,
          flags: create,
          body: encodeLink({ ...spec, netnsFd }),
        }),
      ),
    setLink: (target: number | string, { netns, ...change }: Parameters<Rtnetlink['setLink']>[1]) =>
      withNetnsFd(netns, (netnsFd) => send(changeRequest(target, { ...change, netnsFd }, netns))),
    async deleteLink(target: number | string) {
      const operation = `delete link ${target}`;
      const index = typeof target === 'number' ? target : (await getLink(target))?.index;
      if (index === undefined) throw new NetlinkError(operation, 'ENODEV');
      const request = { operation, type: RTM_DELLINK, body: [linkHeader(index)] };
      await socket.requestSlow(request, (fd) => !hasLink(fd, index));
    },
  };
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
    appendRoute: (spec: RouteSpec) =>
      send({
        operation: `append ${name(spec)}`,
        type: RTM_NEWROUTE,
        flags: NLM_F_CREATE | NLM_F_APPEND,
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
