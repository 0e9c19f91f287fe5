import { isNetlinkError } from '../../src/linux/netlink/socket.ts';
import type { SetHeader } from '../../src/netfilter/ipset-messages.ts';
import type { Ipvs } from '../../src/netfilter/ipvs.ts';
import type { VirtualServer } from '../../src/netfilter/ipvs-messages.ts';
import type { IpFamily } from '../../src/netfilter/tables.ts';
import type { IpvsKernel } from './kernel.ts';
import { type IpvsOperations, parseEndpoint } from './operations.ts';
import { SET_KEYS, SETS, type SetKey, setName, spareName } from './sets.ts';
import type { Terminations } from './termination.ts';
import { serverKey, type Wanted } from './wanted.ts';

/** As kube-proxy makes them; more only where more is needed. */
const USUAL_ELEMENTS = 65_536;
/**
 * Requests under way at once: the kernel works on each within its sending, and the event loop turns between lots. All their answers must
 * find room in the socket's buffer (1 MiB).
 */
const REQUESTS_AT_ONCE = 128;
const ERRORS_SHOWN = 3;

/**
 * Carries operations out, `writeRules` (iptables) in between. There are no transactions across these parts of the kernel: the order is
 * such that at no time is a virtual server reachable whose packets the rules do not know, nor an address bound before it is served.
 * What is refused does not keep the rest from being written. @throws AggregateError of all refusals, in the end
 */
export async function applyOperations(
  kernel: IpvsKernel,
  family: IpFamily,
  todo: IpvsOperations,
  { terminations, writeRules }: { terminations: Terminations; writeRules(): Promise<void> },
): Promise<void> {
  const errors: unknown[] = [];
  const { ipvs, ipset, holder } = kernel;
  const each = async <T>(items: readonly T[], work: (item: T) => Promise<void>, requestsOf = (_item: T) => 1) => {
    for (const lot of lotsOf(items, requestsOf))
      for (const one of await Promise.allSettled(lot.map(work))) if (one.status === 'rejected') errors.push(one.reason);
  };
  const setOf = (key: SetKey) => ({ name: setName(key, family), type: SETS[key].type });

  await each([...todo.addElements], ([key, elements]) => ipset.add(setOf(key), elements));
  await writeRules().catch((error: unknown) => errors.push(error));

  await each(
    todo.addServers,
    async ({ server, endpoints }) => {
      terminations.forget(serverKey(server));
      // Sent one behind the other, and carried out in that order: the answers are waited for together.
      const isThere = ensureServer(ipvs, server);
      const [some, rest] = [endpoints.slice(0, REQUESTS_AT_ONCE), endpoints.slice(REQUESTS_AT_ONCE)];
      const reals = Promise.allSettled(some.map((endpoint) => ensureReal(ipvs, server, endpoint)));
      await isThere;
      for (const one of await reals) if (one.status === 'rejected') throw one.reason;
      for (const endpoint of rest) await ensureReal(ipvs, server, endpoint);
    },
    ({ endpoints }) => 1 + Math.min(endpoints.length, REQUESTS_AT_ONCE),
  );
  await each(todo.editServers, (server) => ipvs.editServer(server));
  await each(todo.reals, async ({ server, add, revive, adopt }) => {
    for (const endpoint of add) await ensureReal(ipvs, server, endpoint);
    for (const endpoint of revive) {
      await ipvs.editRealServer(server, { ...parseEndpoint(endpoint), weight: 1 });
      terminations.forget(serverKey(server), endpoint);
    }
    for (const endpoint of adopt) terminations.adopt(server, endpoint);
  });
  await each(todo.bind, (address) => holder.add(address));

  await each(todo.unbind, (address) => holder.remove(address));
  await each(todo.reals, ({ server, remove }) => terminations.remove(server, remove));
  await each(todo.deleteServers, async (server) => {
    await ipvs.deleteServer(server).catch((error: unknown) => {
      if (!isNetlinkError(error, 'ESRCH')) throw error;
    });
    terminations.forget(serverKey(server));
  });
  // Last: until then they tell whose the virtual servers are, also to a proxy that was killed half-way.
  await each([...todo.deleteElements], ([key, elements]) => ipset.delete(setOf(key), elements));
  if (errors.length > 0) {
    const texts = errors.slice(0, ERRORS_SHOWN).map((error) => (error as Error).message);
    const more = errors.length > ERRORS_SHOWN ? ` and ${errors.length - ERRORS_SHOWN} more` : '';
    throw new AggregateError(errors, `IPVS: ${texts.join('; ')}${more}`);
  }
}

/** Cut so that each lot makes about so many requests as may be under way. */
function lotsOf<T>(items: readonly T[], requestsOf: (item: T) => number): T[][] {
  const lots: T[][] = [];
  let room = 0;
  for (const item of items) {
    if (room <= 0) {
      lots.push([]);
      room = REQUESTS_AT_ONCE;
    }
    lots.at(-1)!.push(item);
    room -= requestsOf(item);
  }
  return lots;
}

async function ensureServer(ipvs: Ipvs, server: VirtualServer): Promise<void> {
  try {
    await ipvs.addServer(server);
  } catch (error) {
    if (!isNetlinkError(error, 'EEXIST')) throw error;
    await ipvs.editServer(server);
  }
}

async function ensureReal(ipvs: Ipvs, server: VirtualServer, endpoint: string): Promise<void> {
  const real = { ...parseEndpoint(endpoint), weight: 1 };
  try {
    await ipvs.addRealServer(server, real);
  } catch (error) {
    if (!isNetlinkError(error, 'EEXIST')) throw error;
    await ipvs.editRealServer(server, real);
  }
}

/** What a set must be able to hold. */
export function elementLimit(count: number): number {
  return count <= USUAL_ELEMENTS ? USUAL_ELEMENTS : 2 ** Math.ceil(Math.log2(count * 1.25));
}

/**
 * Makes the sets that are missing, and others in the place of those that are too small; rules that name these see no difference.
 * @returns how many it made, and how much each set may hold
 * @throws when a set of the name is of another type: then it is not of kube-proxy's making
 */
export async function ensureSets(
  { ipset }: Pick<IpvsKernel, 'ipset'>,
  family: IpFamily,
  wanted: Wanted,
  headers: ReadonlyMap<string, SetHeader>,
): Promise<{ made: number; limits: Map<SetKey, number> }> {
  let made = 0;
  const limits = new Map<SetKey, number>();
  for (const key of SET_KEYS) {
    const { type } = SETS[key];
    const name = setName(key, family);
    const needed = elementLimit(wanted.elements(key).size);
    const set = { name, type, family, maxElements: needed };
    const there = headers.get(name);
    const isBitmap = type === 'bitmap:port';
    limits.set(key, isBitmap ? Number.POSITIVE_INFINITY : Math.max(needed, there?.maxElements ?? 0));
    if (there && (there.type !== type || (!isBitmap && there.family !== family)))
      throw new Error(
        `ipset ${name} is of the type ${there.type} (${there.family ?? 'no family'}), not ${type} (${family}): it is not kube-proxy's; rename or destroy it`,
      );
    if (!there) {
      await ipset.create(set);
      made++;
    } else if (!isBitmap && there.maxElements !== undefined && there.maxElements < needed) {
      const spare = spareName(family);
      await ipset.destroy(spare);
      await ipset.create({ ...set, name: spare });
      await ipset.add({ name: spare, type }, await ipset.elements({ name, type }));
      await ipset.swap(name, spare);
      await ipset.destroy(spare);
      made++;
    }
  }
  return { made, limits };
}
