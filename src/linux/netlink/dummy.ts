import { runInSlices } from '../../runtime/slices.ts';
import { type Address, decodeAddress, encodeAddress } from './addresses.ts';
import { type Attribute, nested, readI32, readU32, text } from './attributes.ts';
import {
  AF_INET,
  AF_INET6,
  IFLA_IFNAME,
  IFLA_INFO_KIND,
  IFLA_LINKINFO,
  NETLINK_ROUTE,
  NLM_F_CREATE,
  NLM_F_DUMP,
  NLM_F_EXCL,
  RTM_DELADDR,
  RTM_DELLINK,
  RTM_GETADDR,
  RTM_GETLINK,
  RTM_NEWADDR,
  RTM_NEWLINK,
} from './constants.ts';
import { linkHeader } from './links.ts';
import { isNetlinkError, openNetlinkSocket } from './socket.ts';

/**
 * A link of the kind `dummy` that carries addresses, so that the kernel takes packets to them for its own. It stays down: nothing is
 * ever sent through it. All throw NetlinkError.
 */
export interface AddressHolder {
  /** Makes the link unless it is there. EOPNOTSUPP where the kernel has no dummy links. */
  ensureLink(): Promise<void>;
  exists(): Promise<boolean>;
  /** With all its addresses. Nothing where there is none. */
  removeLink(): Promise<void>;
  /** The host's addresses of one family: those on the link, and on all others. In canonical spelling, without prefix lengths. */
  list(family: 4 | 6, signal?: AbortSignal): Promise<{ held: string[]; others: OtherAddress[] }>;
  /** As /32 or /128; one that is there already is left. ENODEV without the link. */
  add(address: string): Promise<void>;
  /** Nothing where it is not there. */
  remove(address: string): Promise<void>;
  close(): void;
}

export interface OtherAddress {
  address: string;
  scope: Address['scope'];
}

/** Opens the holder `name` in our network namespace, or in the one at `netns`. Changes nothing yet. */
export function openAddressHolder(name: string, netns?: string): AddressHolder {
  const socket = openNetlinkSocket(NETLINK_ROUTE, netns);
  let index: number | undefined;

  const byName: Attribute = text(IFLA_IFNAME, name);

  async function findLink(): Promise<number | undefined> {
    try {
      const operation = `get link ${name}`;
      const [body] = await socket.request({ operation, type: RTM_GETLINK, body: [linkHeader(0), ...byName] });
      index = body && readI32(body, 4);
    } catch (error) {
      if (!isNetlinkError(error, 'ENODEV')) throw error;
      index = undefined;
    }
    return index;
  }

  const single = (address: string) => `${address}/${address.includes(':') ? 128 : 32}`;

  async function change(verb: string, type: number, flags: number, address: string, ignored: string) {
    const linkIndex = index ?? (await findLink()) ?? 0;
    try {
      await socket.request({
        operation: `${verb} address ${address} of link ${name}`,
        type,
        flags,
        body: encodeAddress({ linkIndex, address: single(address), scope: 'global' }),
      });
    } catch (error) {
      if (!isNetlinkError(error, ignored)) throw error;
    }
  }

  return {
    async ensureLink() {
      if ((await findLink()) !== undefined) return;
      const info = nested(IFLA_LINKINFO, [text(IFLA_INFO_KIND, 'dummy')]);
      const operation = `create dummy link ${name}`;
      const flags = NLM_F_CREATE | NLM_F_EXCL;
      await socket.request({ operation, type: RTM_NEWLINK, flags, body: [linkHeader(0), ...byName, ...info] });
      await findLink();
    },
    exists: async () => (await findLink()) !== undefined,
    async removeLink() {
      if ((await findLink()) === undefined) return;
      await socket.requestSlow({
        operation: `delete link ${name}`,
        type: RTM_DELLINK,
        body: [linkHeader(0), ...byName],
      });
      index = undefined;
    },
    async list(family, signal) {
      const own = await findLink();
      const header = Buffer.alloc(8);
      header[0] = family === 4 ? AF_INET : AF_INET6;
      const bodies = await socket.request({
        operation: 'list addresses',
        type: RTM_GETADDR,
        flags: NLM_F_DUMP,
        body: [header],
      });
      return runInSlices(sortSteps(bodies, own), signal);
    },
    add: (address) => change('add', RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, address, 'EEXIST'),
    remove: (address) => change('delete', RTM_DELADDR, 0, address, 'EADDRNOTAVAIL'),
    close: () => socket.close(),
  };
}

const ADDRESSES_A_STEP = 100;

function* sortSteps(
  bodies: readonly Buffer[],
  own: number | undefined,
): Generator<void, { held: string[]; others: OtherAddress[] }> {
  const held: string[] = [];
  const others: OtherAddress[] = [];
  for (const [count, body] of bodies.entries()) {
    if (count % ADDRESSES_A_STEP === ADDRESSES_A_STEP - 1) yield;
    const one = decodeAddress(body);
    if (!one) continue;
    const address = one.address.slice(0, one.address.indexOf('/'));
    if (readU32(body, 4) === own) {
      // The kernel's own link-local address of IPv6 is nobody's.
      if (one.scope !== 'link') held.push(address);
    } else others.push({ address, scope: one.scope });
  }
  return { held, others };
}
