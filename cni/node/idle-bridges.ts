import type { Link } from '../../src/linux/netlink/links.ts';
import type { Rtnetlink } from '../../src/linux/netlink/rtnetlink.ts';
import { isNetlinkError } from '../../src/linux/netlink/socket.ts';
import { runAll } from '../../src/runtime/run-all.ts';
import { BRIDGE_ALIAS } from '../plugins/host-bridge.ts';
import { VLAN_GATEWAY_ALIAS } from '../plugins/port-vlans.ts';

/** Bridges that our plugin made for a network, and that have no container's port any more. Pure. */
export function findIdleBridges<T extends Pick<Link, 'index' | 'name' | 'kind' | 'alias' | 'masterIndex'>>(
  links: readonly T[],
  /** Names of those that were there before, by another runtime's calls. */
  keep: readonly string[] = [],
): T[] {
  const inUse = new Set(links.filter((link) => !isGateway(link)).map(({ masterIndex }) => masterIndex));
  return links.filter(
    ({ index, name, kind, alias }) =>
      kind === 'bridge' && alias === BRIDGE_ALIAS && !inUse.has(index) && !keep.includes(name),
  );
}

/**
 * Deletes them: no DEL does, since the next pod would need it again. For when no pod is to come.
 * @returns their names.
 */
export async function removeIdleBridges(netlink: Rtnetlink, keep?: readonly string[]): Promise<string[]> {
  const links = await netlink.listLinks();
  const idle = findIdleBridges(links, keep);
  const gateways = links.filter((link) => isGateway(link) && idle.some(({ index }) => index === link.masterIndex));
  await runAll(
    'remove bridges without ports',
    [...gateways, ...idle].map(({ index }) => async () => {
      await netlink.deleteLink(index).catch((error) => {
        if (!isNetlinkError(error, 'ENODEV')) throw error;
      });
    }),
  );
  return idle.map(({ name }) => name);
}

const isGateway = ({ alias }: Pick<Link, 'alias'>) => alias === VLAN_GATEWAY_ALIAS;
