import { createHostGateway } from '../../cni/overlay/host-gw.ts';
import type { KubeClient } from '../../src/kube/client.ts';
import { createInformerSet } from '../../src/kube/informer.ts';
import { nodes } from '../../src/kube/resources.ts';
import { type Runnable, runTogether } from '../../src/runtime/run-together.ts';
import { UserError } from '../output/failure.ts';
import type { ProgramContext } from './context.ts';

export interface OverlayPartOptions {
  nodeName: string;
  backend: string;
  bridge: string;
  /** Its own identity, system:berth-overlay, or the node's. */
  client: KubeClient;
}

/** Routes to the other nodes' pods. Ending it leaves them as they are. */
export function createOverlayPart(options: OverlayPartOptions, { log, clock }: ProgramContext): Runnable {
  if (options.backend !== 'host-gw')
    throw new UserError(`--backend ${options.backend} is not supported yet; use host-gw (nodes on one L2 network)`);
  const informers = createInformerSet(options.client, { log, clock });
  const gateway = createHostGateway(options, { nodes: informers.informer(nodes), log, clock });
  return { run: (signal) => runTogether({ 'overlay informers': informers, 'host-gw': gateway }, signal) };
}

/** Takes away the routes that an overlay of this node wrote. Idempotent; needs no API server. */
export async function removeOverlayRoutes(
  options: { nodeName: string; bridge: string },
  { log, clock }: ProgramContext,
): Promise<void> {
  const nobody = { synced: async () => {}, list: () => [], subscribe: () => () => {} };
  await createHostGateway(options, { nodes: nobody, log, clock }).remove();
}
