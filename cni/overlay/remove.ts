import { openRtnetlink } from '../../src/linux/netlink/rtnetlink.ts';
import { runAll } from '../../src/runtime/run-all.ts';
import type { BackendDeps } from './backends.ts';
import { removeLeftoverLinks, removeLeftoversBesideLinks } from './leftovers.ts';
import { removeOverlayRoutes } from './overlay-routes.ts';
import { removeSubnetFile } from './subnet-file.ts';
import { createTraffic } from './traffic.ts';

/**
 * Takes away whatever an overlay of this node made, with whichever backend. Idempotent; needs no API server: the node's annotations stay
 * (they go with the Node object). Goes on after a failure and throws all of them together.
 * @param options.ownOnly leaves links and rules of flanneld alone, which have the same names.
 */
export async function removeOverlay(
  options: { subnetFile?: string; ownOnly: boolean },
  deps: BackendDeps,
): Promise<void> {
  const { subnetFile, ownOnly } = options;
  const { hostNetns, run } = deps;
  const netlink = openRtnetlink(hostNetns);
  try {
    await runAll('remove the overlay', [
      () => removeOverlayRoutes(netlink),
      () => removeLeftoverLinks(netlink, { ownOnly }),
      () => removeLeftoversBesideLinks(deps),
      () => (ownOnly ? undefined : createTraffic({ masquerade: true, forward: true, hostNetns }, { run }).remove()),
      () => (subnetFile === undefined ? undefined : removeSubnetFile(subnetFile)),
    ]);
  } finally {
    netlink.close();
  }
}
