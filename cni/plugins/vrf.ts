/** The vrf plugin, chained behind an interface plugin: the interface gets a routing table of its own, shared with others of the same VRF. */
import type { Link } from '../../src/linux/netlink/links.ts';
import type { Rtnetlink } from '../../src/linux/netlink/rtnetlink.ts';
import { isNetlinkError } from '../../src/linux/netlink/socket.ts';
import { vrfData, vrfTableOf } from '../../src/linux/netlink/vrf.ts';
import { netnsExists } from '../../src/linux/netns.ts';
import { CNI_ERROR, CniError, type Plugin } from '../types.ts';
import { inContainer } from './container-interface.ts';
import { asCniError, broken, ignoreGone } from './failure.ts';
import { withNetnsLock } from './netns-lock.ts';

export interface VrfConfig {
  vrfName: string;
  /** undefined: the first that no VRF of the container has. */
  table: number | undefined;
}

const TABLE_MAIN = 254;
const PROTOCOL_KERNEL = 2;
const SCOPE_UNIVERSE = 0;

export function createVrf({ sleep }: { sleep(ms: number): Promise<void> }): Plugin<VrfConfig> {
  return {
    type: 'vrf',

    async add(config, { netns, ifname }, previous) {
      if (!previous)
        throw new CniError(CNI_ERROR.invalidNetworkConfig, 'vrf: missing prevResult from earlier plugin', {
          details: 'put it behind the plugin that brings the interface',
        });
      try {
        await inContainer(netns, (pod) =>
          withNetnsLock(netns, sleep, async () => {
            const link = await pod.getLink(ifname);
            if (!link) throw broken(`could not get link by name ${ifname} in ${netns}`);
            if (link.masterIndex !== undefined) {
              const master = await pod.getLink(link.masterIndex);
              throw broken(`interface ${ifname} has already a master set: ${master?.name ?? link.masterIndex}`);
            }
            const vrf = await ensureVrf(pod, config);
            try {
              await enslave(pod, link, vrf);
            } catch (error) {
              await release(pod, link, vrf);
              throw error;
            }
          }),
        );
      } catch (error) {
        throw asCniError(error);
      }
      return previous;
    },

    async del({ vrfName }, { netns, ifname }) {
      if (netns === undefined || !netnsExists(netns)) return;
      await inContainer(netns, (pod) =>
        withNetnsLock(netns, sleep, async () => {
          const vrf = await pod.getLink(vrfName);
          if (vrf?.kind === 'vrf') await release(pod, await pod.getLink(ifname), vrf);
        }),
      );
    },

    async check(config, { netns, ifname }) {
      await inContainer(netns, async (pod) => {
        const vrf = await pod.getLink(config.vrfName);
        if (vrf?.kind !== 'vrf') throw broken(`there is no VRF ${config.vrfName} in ${netns}`);
        checkTable(config, vrf);
        const link = await pod.getLink(ifname);
        if (link?.masterIndex !== vrf.index)
          throw broken(`Failed to find ${ifname} associated to vrf ${config.vrfName} in ${netns}`);
      });
    },

    async gc() {},
    async status() {},
  };
}

async function ensureVrf(pod: Rtnetlink, config: VrfConfig): Promise<Link> {
  const there = await pod.getLink(config.vrfName);
  if (there) {
    if (there.kind !== 'vrf') throw broken(`${config.vrfName} is a link of kind ${there.kind}, not a VRF`);
    checkTable(config, there);
    return there;
  }
  const table = config.table ?? freeTable(await pod.listLinks());
  try {
    await pod.createLink({ name: config.vrfName, kind: 'vrf', data: vrfData({ table }), up: true });
  } catch (error) {
    if (!isNetlinkError(error, 'EOPNOTSUPP')) throw error;
    throw new CniError(CNI_ERROR.ioFailure, 'vrf: this kernel has no links of kind vrf', {
      details: 'load its module (modprobe vrf), or run a kernel that has it',
      cause: error,
    });
  }
  const made = await pod.getLink(config.vrfName);
  if (!made) throw broken(`VRF ${config.vrfName} disappeared`);
  return made;
}

function checkTable({ vrfName, table }: VrfConfig, vrf: Link): void {
  const has = vrfTableOf(vrf);
  if (table !== undefined && has !== table)
    throw broken(`VRF ${vrfName} already exist with different routing table ${has}`);
}

/** Pure. */
export function freeTable(links: readonly Link[]): number {
  const used = new Set(links.map(vrfTableOf));
  let table = 1;
  while (used.has(table)) table++;
  return table;
}

/** The kernel takes a new slave down and up again: IPv6 addresses and all routes that it did not make itself are lost with that. */
async function enslave(pod: Rtnetlink, link: Link, vrf: Link): Promise<void> {
  const addresses = await pod.listAddresses({ linkIndex: link.index, family: 6 });
  const routes = (await pod.listRoutes({ table: TABLE_MAIN })).filter(
    ({ linkIndex, scope, protocol }) =>
      linkIndex === link.index && scope === SCOPE_UNIVERSE && protocol !== PROTOCOL_KERNEL,
  );
  await pod.setLink(link.index, { masterIndex: vrf.index });
  const left = new Set((await pod.listAddresses({ linkIndex: link.index, family: 6 })).map(({ address }) => address));
  for (const { address, scope } of addresses)
    if (!left.has(address)) await pod.addAddress({ linkIndex: link.index, address, scope }).catch(ignoreThere);
  const table = vrfTableOf(vrf);
  for (const route of routes) await pod.replaceRoute({ ...route, table });
}

/** The last one takes the VRF with it. */
async function release(pod: Rtnetlink, link: Link | undefined, vrf: Link): Promise<void> {
  const current = link && (await pod.getLink(link.index));
  if (current?.masterIndex === vrf.index) await pod.setLink(current.index, { masterIndex: 0 });
  const links = await pod.listLinks();
  if (!links.some(({ masterIndex }) => masterIndex === vrf.index)) await pod.deleteLink(vrf.index).catch(ignoreGone);
}

function ignoreThere(error: unknown): void {
  if (!isNetlinkError(error, 'EEXIST')) throw error;
}
