import { closeSync, openSync } from 'node:fs';
import { hasLink } from '../libc.ts';
import { text } from './attributes.ts';
import { IFLA_IFNAME, NLM_F_CREATE, NLM_F_EXCL, RTM_DELLINK, RTM_GETLINK, RTM_NEWLINK } from './constants.ts';
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
import { acknowledged, dump } from './requests.ts';
import { isNetlinkError, NetlinkError, type NetlinkRequest, type NetlinkSocket } from './socket.ts';
/** Links of one network namespace. */
export interface LinkOperations {
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

export function linkOperations(socket: NetlinkSocket): LinkOperations {
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
    createBridge: (spec) =>
      send({ operation: `create bridge ${spec.name}`, type: RTM_NEWLINK, flags: create, body: encodeBridge(spec) }),
    createVeth: ({ peer: { netns, ...peer }, change, ...spec }) =>
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
    createLink: ({ netns, ...spec }) =>
      withNetnsFd(netns, (netnsFd) =>
        send({
          operation: `create ${spec.kind} ${spec.name}${netns ? ` in ${netns}` : ''}`,
          type: RTM_NEWLINK,
          flags: create,
          body: encodeLink({ ...spec, netnsFd }),
        }),
      ),
    setLink: (target, { netns, ...change }) =>
      withNetnsFd(netns, (netnsFd) => send(changeRequest(target, { ...change, netnsFd }, netns))),
    async deleteLink(target) {
      const operation = `delete link ${target}`;
      const index = typeof target === 'number' ? target : (await getLink(target))?.index;
      if (index === undefined) throw new NetlinkError(operation, 'ENODEV');
      const request = { operation, type: RTM_DELLINK, body: [linkHeader(index)] };
      await socket.requestSlow(request, (fd) => !hasLink(fd, index));
    },
  };
}
