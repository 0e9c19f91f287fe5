import type { KubeClient } from '../../src/kube/client.ts';
import { machineAddress } from '../nodes/records.ts';
import { nodeIpsOf, type Settings } from '../settings.ts';
import type { ProgramContext } from './context.ts';
import { createOverlayPart, NODE_OVERLAY, type OverlayPart } from './overlay-part.ts';
import { readOverlaySource, uplinkOfNode } from './overlay-settings.ts';

/** The overlay of a cluster's own node; undefined where it is to have none (`--overlay-backend none`). */
export async function createOwnOverlay(
  settings: Settings,
  client: KubeClient,
  context: ProgramContext,
): Promise<OverlayPart | undefined> {
  if (settings.overlayBackend === 'none') return undefined;
  const conf = readOverlaySource(overlaySourceOf(settings), (message) => context.log.warn(message));
  // Packets of a tunnel leave by one link: towards the further nodes of this machine, where it has some.
  const uplink = uplinkOfNode(conf, nodeIpsOf(settings), [machineAddress(settings.nodesNetwork)]);
  return createOverlayPart({ ...NODE_OVERLAY, nodeName: settings.nodeName, client, conf, uplink }, context);
}

export function overlaySourceOf({ overlayBackend, netConfigPath, podCidr }: Settings) {
  return { backend: overlayBackend, netConfigPath, clusterCidr: podCidr };
}
