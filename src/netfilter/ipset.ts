import { readAttributes } from '../linux/netlink/attributes.ts';
import { NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL } from '../linux/netlink/constants.ts';
import { isNetlinkError, NetlinkError, type NetlinkRequest, openNetlinkSocket } from '../linux/netlink/socket.ts';
import { runInSlices } from '../runtime/slices.ts';
import {
  ATTR,
  COMMAND,
  decodeElements,
  decodeHeader,
  encodeElements,
  encodeFlags,
  encodeHead,
  encodeName,
  encodeSet,
  FLAG_LIST_HEADER,
  familyNumber,
  rawAttribute,
  SET_TYPES,
  type SetHeader,
  type SetSpec,
  type SetType,
} from './ipset-messages.ts';
import { messageType, NETLINK_NETFILTER, NFNL_SUBSYS_IPSET } from './nfnetlink/message.ts';
import type { IpFamily } from './tables.ts';

/** Sets of one network namespace, by netlink. Errors are NetlinkErrors; ipset's own numbers have the names of IPSET_ERR_*. */
export interface Ipset {
  /** Every set, whoever made it. */
  headers(): Promise<SetHeader[]>;
  /** What a set of ours holds. ENOENT when there is none. */
  elements(set: Pick<SetSpec, 'name' | 'type'>, signal?: AbortSignal): Promise<string[]>;
  /** EEXIST when the name is taken; FIND_TYPE when the kernel has no such type. */
  create(set: SetSpec): Promise<void>;
  /** Nothing where there is none; BUSY while a rule names it. */
  destroy(name: string): Promise<void>;
  /** Exchanges what two sets of a type hold, in one step: rules that name one see the other's elements from now on. */
  swap(name: string, other: string): Promise<void>;
  /** An element that is there already is left. FULL when there are more than the set may hold. */
  add(set: Pick<SetSpec, 'name' | 'type'>, elements: readonly string[]): Promise<void>;
  /** An element that is not there is left out. */
  delete(set: Pick<SetSpec, 'name' | 'type'>, elements: readonly string[]): Promise<void>;
  close(): void;
}

/** A message of the largest elements has 45 KiB, and the kernel works on it for about a millisecond. */
const ELEMENTS_A_MESSAGE = 500;

/** IPSET_ERR_*, from 4096 on; HASH_FULL from 4352 on. */
const OWN_ERRORS = new Map([
  [4098, 'FIND_TYPE'],
  [4099, 'MAX_SETS'],
  [4100, 'BUSY'],
  [4101, 'EXIST_SETNAME2'],
  [4102, 'TYPE_MISMATCH'],
  [4108, 'REFERENCED'],
  [4352, 'FULL'],
]);

/** Opens ipset in our network namespace, or in the one at `netns`. */
export function openIpset(netns?: string): Ipset {
  const socket = openNetlinkSocket(NETLINK_NETFILTER, netns);
  const revisions = new Map<string, Promise<number>>();

  async function request(operation: string, command: number, more: Omit<NetlinkRequest, 'operation' | 'type'>) {
    try {
      return await socket.request({ operation, type: messageType(NFNL_SUBSYS_IPSET, command), ...more });
    } catch (error) {
      throw namedError(error);
    }
  }

  /** The youngest form of a type that the kernel has, and that ipset(8) of the last ten years can print. */
  function revisionOf(type: SetType, family: IpFamily): Promise<number> {
    const key = `${type} ${family}`;
    const known = revisions.get(key);
    if (known) return known;
    const asked = askRevision(type, family);
    revisions.set(key, asked);
    asked.catch(() => revisions.delete(key));
    return asked;
  }

  async function askRevision(type: SetType, family: IpFamily): Promise<number> {
    const [body] = await request(`ask for the set type ${type}`, COMMAND.type, {
      body: encodeHead(
        encodeName(ATTR.typeName, type),
        rawAttribute(ATTR.family, Buffer.from([type === 'bitmap:port' ? 0 : familyNumber(family)])),
      ),
    });
    const kernel = body && readAttributes(body, 4).get(ATTR.revision)?.[0];
    return Math.min(kernel ?? 0, SET_TYPES[type].revision);
  }

  async function change(
    verb: string,
    command: number,
    { name, type }: Pick<SetSpec, 'name' | 'type'>,
    elements: readonly string[],
  ) {
    for (let from = 0; from < elements.length; from += ELEMENTS_A_MESSAGE) {
      const part = elements.slice(from, from + ELEMENTS_A_MESSAGE);
      await request(`${verb} the set ${name}: ${part.length} elements from ${part[0]} on`, command, {
        body: encodeElements(name, type, part),
      });
    }
  }

  return {
    async headers() {
      const bodies = await request('list sets', COMMAND.list, {
        flags: NLM_F_DUMP,
        body: encodeHead(encodeFlags(FLAG_LIST_HEADER)),
      });
      return bodies.flatMap((body) => decodeHeader(body) ?? []);
    },
    async elements({ name, type }, signal) {
      const bodies = await request(`list the set ${name}`, COMMAND.list, {
        flags: NLM_F_DUMP,
        body: encodeHead(encodeName(ATTR.setName, name)),
      });
      return runInSlices(decodeSteps(bodies, type), signal);
    },
    async create(set) {
      await request(`create the set ${set.name} (${set.type})`, COMMAND.create, {
        flags: NLM_F_CREATE | NLM_F_EXCL,
        body: encodeSet(set, await revisionOf(set.type, set.family)),
      });
    },
    async destroy(name) {
      try {
        await request(`destroy the set ${name}`, COMMAND.destroy, { body: encodeHead(encodeName(ATTR.setName, name)) });
      } catch (error) {
        // Younger kernels do not mind.
        if (!isNetlinkError(error, 'ENOENT')) throw error;
      }
    },
    async swap(name, other) {
      await request(`swap the sets ${name} and ${other}`, COMMAND.swap, {
        body: encodeHead(encodeName(ATTR.setName, name), encodeName(ATTR.setName2, other)),
      });
    },
    add: (set, elements) => change('add to', COMMAND.add, set, elements),
    delete: (set, elements) => change('delete from', COMMAND.delete, set, elements),
    close: () => socket.close(),
  };
}

function* decodeSteps(bodies: readonly Buffer[], type: SetType): Generator<void, string[]> {
  const elements: string[] = [];
  for (const body of bodies) {
    elements.push(...decodeElements(body, type));
    yield;
  }
  return elements;
}

function namedError(error: unknown): unknown {
  if (!(error instanceof NetlinkError)) return error;
  const own = OWN_ERRORS.get(Number(/^errno (\d+)$/.exec(error.code)?.[1]));
  return own ? new NetlinkError(error.operation, own) : error;
}
