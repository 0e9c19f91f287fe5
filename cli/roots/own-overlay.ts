import type { KubeClient } from '../../src/kube/client.ts';
import type { Registry } from '../../src/runtime/metrics.ts';
import { machineAddress } from '../nodes/records.ts';
import { nodeIpsOf, type Settings } from '../settings.ts';
import type { ProgramContext } from './context.ts';
import { createOverlayPart, NODE_OVERLAY, type OverlayPart } from './overlay-part.ts';
import { readOverlaySource, uplinkOfNode } from './overlay-settings.ts';

/** The overlay of a cluster's own node; undefined where it is to have none (`--overlay-backend none`). */
export async function createOwnOverlay(
  settings: Settings,
  client: KubeClient,
  metrics: Registry,
  context: ProgramContext,
): Promise<OverlayPart | undefined> {
  if (settings.overlayBackend === 'none') return undefined;
  const conf = readOverlaySource(overlaySourceOf(settings), (message) => context.log.warn(message));
  // Packets of a tunnel leave by one link: towards the further nodes of this machine, where it has some.
  const uplink = uplinkOfNode(conf, nodeIpsOf(settings), [machineAddress(settings.nodesNetwork)]);
  return createOverlayPart({ ...NODE_OVERLAY, nodeName: settings.nodeName, client, conf, uplink, metrics }, context);
}

export function overlaySourceOf({ overlayBackend, netConfigPath, podCidr }: Settings) {
  return { backend: overlayBackend, netConfigPath, clusterCidr: podCidr };
}

/** What hosts that join must know of the overlay; nothing for plain routes, and nothing that holds a secret: that goes another way. */
export function overlayFacts(settings: Settings): Record<string, string> {
  if (settings.overlayBackend === 'none') return { 'overlay-backend': 'none' };
  const { networks, backend } = readOverlaySource(overlaySourceOf(settings), () => {});
  if (backend.type === 'host-gw' || Object.keys(backend.raw).some((key) => SECRETS.includes(key.toLowerCase())))
    return {};
  const conf = {
    EnableIPv4: networks[4] !== undefined,
    EnableIPv6: networks[6] !== undefined,
    Network: networks[4],
    IPv6Network: networks[6],
    Backend: backend.raw,
  };
  return { 'net-conf.json': `${JSON.stringify(conf, null, 2)}\n` };
}

const SECRETS = ['psk'];
