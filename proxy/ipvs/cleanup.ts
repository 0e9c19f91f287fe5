import { openAddressHolder } from '../../src/linux/netlink/dummy.ts';
import { isNetlinkError } from '../../src/linux/netlink/socket.ts';
import { openIpset } from '../../src/netfilter/ipset.ts';
import { createIptables } from '../../src/netfilter/iptables.ts';
import { type Ipvs, NoIpvsError, openIpvs } from '../../src/netfilter/ipvs.ts';
import type { IpFamily } from '../../src/netfilter/tables.ts';
import { runAll } from '../../src/runtime/run-all.ts';
import { JUMPS as IPTABLES_JUMPS } from '../iptables/jumps.ts';
import type { ModeDependencies, ModeName } from '../mode.ts';
import { LINK_NAME, readServers } from './kernel.ts';
import { isMarked } from './operations.ts';
import { ownSetNames, SET_KEYS, SETS, type SetKey, setName } from './sets.ts';
import { buildIpvsRemoval } from './tables.ts';

/**
 * Removes what mode ipvs has written for one family: its chains and jumps, then addresses and virtual servers, then sets; kube-ipvs0
 * with the last family. A virtual server is ours when our sets or our link say so, and `isExcluded` does not: others stay.
 * Idempotent; without a set or link of ours it does nothing.
 */
export async function removeIpvs(
  family: IpFamily,
  { run, netns }: Pick<ModeDependencies, 'run' | 'netns'>,
  isExcluded: (address: string) => boolean,
  successor?: ModeName,
): Promise<void> {
  const ipset = openIpset(netns);
  const holder = openAddressHolder(LINK_NAME, netns);
  let ipvs: Ipvs | undefined;
  try {
    const headers = await ipset.headers().catch((error: unknown) => {
      // A kernel without ipset has none of ours.
      if (isNetlinkError(error, 'EINVAL', 'ENOENT', 'EOPNOTSUPP', 'EPROTONOSUPPORT')) return [];
      throw error;
    });
    const names = new Set(ownSetNames(family));
    const sets = headers.filter(({ name }) => names.has(name));
    const hasLink = await holder.exists();
    if (sets.length === 0 && !hasLink) return;

    const elements = new Map<SetKey, Set<string>>();
    for (const key of SET_KEYS)
      if (sets.some(({ name, type }) => name === setName(key, family) && type === SETS[key].type))
        elements.set(key, new Set(await ipset.elements({ name: setName(key, family), type: SETS[key].type })));
    const version = family === 'IPv4' ? 4 : 6;
    const { held } = hasLink ? await holder.list(version) : { held: [] };
    ipvs = await openIpvs(netns).catch((error: unknown) => {
      if (error instanceof NoIpvsError) return undefined;
      throw error;
    });
    const servers = ipvs ? [...(await readServers({ ipvs }, family)).values()] : [];
    const marks = { held: new Set(held), elements };
    const own = servers.filter((server) => isMarked(server, marks) && !isExcluded(server.address));

    const iptables = createIptables({ family, run, netns });
    const successorJumps = successor === 'iptables' ? IPTABLES_JUMPS : undefined;
    if (sets.length > 0)
      await iptables.restore(buildIpvsRemoval(await iptables.save(), (name) => names.has(name), successorJumps));
    const isLast = hasLink && (await holder.list(version === 4 ? 6 : 4)).held.length === 0;
    await runAll('remove what mode ipvs wrote', [
      async () => {
        if (isLast) await holder.removeLink();
        else for (const address of held) await holder.remove(address);
      },
      ...own.map((server) => () => ipvs!.deleteServer(server)),
    ]);
    // Last: until then they tell whose the virtual servers are.
    await runAll(
      'destroy the sets of mode ipvs',
      sets.map(
        ({ name }) =>
          () =>
            ipset.destroy(name),
      ),
    );
  } finally {
    ipset.close();
    holder.close();
    ipvs?.close();
  }
}
