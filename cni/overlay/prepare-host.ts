import { openRtnetlink } from '../../src/linux/netlink/rtnetlink.ts';
import { BACKENDS, type BackendDeps } from './backends.ts';
import { applyBlackholes } from './blackhole-routes.ts';
import { removeLeftoverLinks, removeLeftoversBesideLinks } from './leftovers.ts';
import { removePeerRoutes } from './overlay-routes.ts';

/** What an overlay does before the first write of its own: other backends' links and daemons go. Idempotent. */
export async function prepareHost(
  options: {
    backendType: string;
    podCidrs: readonly string[];
    /** flanneld's links go too. */
    takeOver: boolean;
    blackholeRoute: boolean;
    hostNetns?: string;
  },
  deps: Pick<BackendDeps, 'log' | 'clock' | 'run'>,
): Promise<void> {
  const { backendType: keep, podCidrs, takeOver, blackholeRoute, hostNetns } = options;
  const { log, clock, run } = deps;
  const netlink = openRtnetlink(hostNetns);
  try {
    const links = await removeLeftoverLinks(netlink, { keep, ownOnly: !takeOver });
    if (links.length > 0) log.info({ links }, 'links of another backend removed');
    await removeLeftoversBesideLinks({ log, clock, run, ...(hostNetns !== undefined && { hostNetns }) }, keep);
    // Everybody else's first full sync removes those that it does not want.
    if (BACKENDS.get(keep)?.hasNoRoutes) await removePeerRoutes(netlink);
    if (blackholeRoute) await applyBlackholes(netlink, podCidrs);
  } finally {
    netlink.close();
  }
}
