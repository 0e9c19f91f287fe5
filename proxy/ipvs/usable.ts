import { openAddressHolder } from '../../src/linux/netlink/dummy.ts';
import { isNetlinkError } from '../../src/linux/netlink/socket.ts';
import { openIpset } from '../../src/netfilter/ipset.ts';
import { SET_TYPES, type SetType } from '../../src/netfilter/ipset-messages.ts';
import { createIptables } from '../../src/netfilter/iptables.ts';
import { type Ipvs, NoIpvsError, openIpvs } from '../../src/netfilter/ipvs.ts';
import type { IpFamily } from '../../src/netfilter/tables.ts';
import type { ModeDependencies } from '../mode.ts';
import { LINK_NAME } from './kernel.ts';

/** Of the blocks that are kept for documentation: nobody's address (upstream's for IPv4). */
const PROBE_ADDRESS = { IPv4: '198.51.100.0', IPv6: '2001:db8::' } as const;
const PROBE_PORT = 20_000;
const PROBE_LINK = 'berth-probe';
const PROBE_CHAIN = 'BERTH-IPVS-PROBE';
const PROBE_SET = 'BERTH-PROBE';

/**
 * Why this host cannot run mode ipvs for a family: makes one of everything that the mode needs (a virtual server with the scheduler, a
 * dummy link, a set of each type, a chain with its matches) and removes it again. undefined when it can.
 */
export async function whyNotUsable(
  family: IpFamily,
  scheduler: string,
  { run, netns }: Pick<ModeDependencies, 'run' | 'netns'>,
): Promise<string | undefined> {
  const probes = [
    () => tryScheduler(family, scheduler, netns),
    () => tryLink(netns),
    () => trySets(family, netns),
    () => tryRules(family, run, netns),
  ];
  for (const probe of probes)
    try {
      const why = await probe();
      if (why) return why;
    } catch (error) {
      return (error as Error).message;
    }
  return undefined;
}

async function tryScheduler(family: IpFamily, scheduler: string, netns?: string): Promise<string | undefined> {
  let ipvs: Ipvs;
  try {
    ipvs = await openIpvs(netns);
  } catch (error) {
    if (error instanceof NoIpvsError) return error.message;
    throw error;
  }
  const probe = { protocol: 'TCP', address: PROBE_ADDRESS[family], port: PROBE_PORT } as const;
  const gone = () => ipvs.deleteServer(probe).catch(() => {});
  try {
    // Of a probe that was killed.
    await gone();
    await ipvs.addServer({ ...probe, scheduler, flags: 0, timeoutSeconds: 0 });
    return undefined;
  } catch (error) {
    if (isNetlinkError(error, 'ENOENT'))
      return `the kernel has no IPVS scheduler ${JSON.stringify(scheduler)}: it needs the module ip_vs_${scheduler}, or ipvs.scheduler another name`;
    if (isNetlinkError(error, 'EAFNOSUPPORT')) return `the kernel's IPVS knows no ${family}`;
    throw error;
  } finally {
    await gone();
    ipvs.close();
  }
}

async function tryLink(netns?: string): Promise<string | undefined> {
  const real = openAddressHolder(LINK_NAME, netns);
  const holder = openAddressHolder(PROBE_LINK, netns);
  try {
    if (await real.exists()) return undefined;
    await holder.ensureLink();
    await holder.removeLink();
    return undefined;
  } catch (error) {
    if (isNetlinkError(error, 'EOPNOTSUPP')) return 'the kernel has no dummy links: it needs the module dummy';
    throw error;
  } finally {
    real.close();
    holder.close();
  }
}

async function trySets(family: IpFamily, netns?: string): Promise<string | undefined> {
  const ipset = openIpset(netns);
  try {
    for (const type of Object.keys(SET_TYPES) as SetType[]) {
      const name = `${PROBE_SET}-${family}`;
      try {
        await ipset.destroy(name);
        await ipset.create({ name, type, family, maxElements: 1024 });
      } catch (error) {
        if (isNetlinkError(error, 'FIND_TYPE', 'EINVAL', 'ENOENT'))
          return `the kernel has no sets of the type ${type}: it needs the module ip_set_${type.replaceAll(/[:,]/g, (sign) => (sign === ':' ? '_' : ''))}`;
        throw error;
      }
      await ipset.destroy(name);
    }
    return undefined;
  } finally {
    ipset.close();
  }
}

async function tryRules(family: IpFamily, run: ModeDependencies['run'], netns?: string): Promise<string | undefined> {
  const ipset = openIpset(netns);
  const iptables = createIptables({ family, run, netns });
  const set = { name: `${PROBE_SET}-${family}`, type: 'hash:ip,port', family, maxElements: 1024 } as const;
  const address = PROBE_ADDRESS[family];
  const rules = [
    `-m set --match-set ${set.name} dst,dst -j RETURN`,
    `-s ${address} -m ipvs --vproto 6 --vaddr ${address} --vport ${PROBE_PORT} -j RETURN`,
    '-m physdev ! --physdev-is-in -m addrtype ! --src-type LOCAL -j RETURN',
    '-m mark --mark 0x1/0x1 -m conntrack --ctstate NEW -j RETURN',
  ];
  try {
    await ipset.destroy(set.name);
    await ipset.create(set);
    // Two transactions: what is gone before the commit, the kernel never sees.
    await iptables.restore([
      { table: 'filter', chains: [PROBE_CHAIN], commands: rules.map((rule) => `-A ${PROBE_CHAIN} ${rule}`) },
      { table: 'filter', chains: [PROBE_CHAIN], commands: [`-X ${PROBE_CHAIN}`] },
    ]);
    return undefined;
  } finally {
    await ipset.destroy(set.name).catch(() => {});
    ipset.close();
  }
}
