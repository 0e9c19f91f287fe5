import { netnsExists, netnsId } from '../../src/linux/netns.ts';
import { CNI_ERROR, CniError } from '../types.ts';

const OWN_NETNS = '/proc/self/ns/net';

/**
 * A namespace that a container could be in. Never the host's: `/proc/<pid>/ns/net` of a process that has ended may be another one's by
 * now, and `eth0` and `lo` there are the machine's own.
 * @throws CniError 8.
 */
export function checkContainerNetns(netns: string, hostNetns = OWN_NETNS): void {
  if (!netnsExists(netns)) throw new CniError(CNI_ERROR.invalidNetns, `network namespace ${netns} does not exist`);
  if (netnsId(netns) === netnsId(hostNetns))
    throw new CniError(
      CNI_ERROR.invalidNetns,
      `plugin's netns and netns from CNI_NETNS should not be the same: ${netns} is the host's`,
    );
}

/** The path, where it still leads to a container's namespace. */
export function usableNetns(path: string | undefined, hostNetns = OWN_NETNS): string | undefined {
  if (!path || !netnsExists(path)) return undefined;
  return netnsId(path) === netnsId(hostNetns) ? undefined : path;
}
