import { annotationKeys, slimNode } from '../../cni/overlay/annotations.ts';
import { readBackendFields } from '../../cni/overlay/backend-fields.ts';
import { BACKENDS } from '../../cni/overlay/backends.ts';
import { createOverlayMetrics } from '../../cni/overlay/metrics.ts';
import type { NetConf } from '../../cni/overlay/net-conf.ts';
import { createOverlay, type Overlay, type OverlayOptions } from '../../cni/overlay/overlay.ts';
import { removeOverlay } from '../../cni/overlay/remove.ts';
import { createTraffic } from '../../cni/overlay/traffic.ts';
import type { KubeClient } from '../../src/kube/client.ts';
import { createInformer, stripManagedFields } from '../../src/kube/informer.ts';
import { nodes } from '../../src/kube/resources.ts';
import { run } from '../../src/linux/exec.ts';
import type { Registry } from '../../src/runtime/metrics.ts';
import { type Runnable, runTogether } from '../../src/runtime/run-together.ts';
import type { ProgramContext } from './context.ts';
import { isTunnel } from './overlay-settings.ts';

const SUBNET_FILE = '/run/flannel/subnet.env';

/** An overlay within a whole node: rules and forwarding are the node's (cni/node), and flanneld's things are left alone. */
export const NODE_OVERLAY = {
  subnetFile: SUBNET_FILE,
  ipMasq: true,
  blackholeRoute: false,
  setNetworkUnavailable: true,
  takeOver: false,
} as const;

export interface OverlayPartOptions extends Omit<OverlayOptions, 'keys'> {
  /** Its own identity, system:berth-overlay, or the node's. */
  client: KubeClient;
  conf: NetConf;
  annotationPrefix?: string;
  /** Write flannel's rules too; a whole node has its own. */
  masquerade?: boolean;
  forwardRules?: boolean;
  metrics?: Registry;
  heartbeat?: () => void;
}

export type OverlayPart = Runnable &
  Pick<Overlay, 'state'> & {
    /** Bytes that a pod's packet may have. `pending` until a tunnel has been made; without one, undefined until the uplink is known. */
    mtu(): number | undefined | 'pending';
  };

/** The ways to the other nodes' pods. Ending it leaves them as they are. @throws ExplainedError for bad options; nothing is touched yet. */
export async function createOverlayPart(options: OverlayPartOptions, context: ProgramContext): Promise<OverlayPart> {
  const { log, clock } = context;
  const { conf, client, hostNetns } = options;
  const deps = { log, clock, run, ...(hostNetns !== undefined && { hostNetns }) };
  const keys = annotationKeys(options.annotationPrefix);
  const fields = readBackendFields(conf.backend.raw, conf.where);
  const backend = await BACKENDS.get(conf.backend.type)!.open(fields, {
    ...deps,
    ...(options.metrics && { registry: options.metrics }),
  });
  const unread = fields.unread();
  if (unread.length > 0)
    log.warn(
      { keys: unread, backend: backend.type },
      `${conf.where}: the backend knows no such keys; they are ignored`,
    );
  // Of its own, and not shared: it keeps a fraction of each node.
  const informer = createInformer({
    client,
    resource: nodes,
    transform: (node) => slimNode(stripManagedFields(node)),
    log,
    clock,
  });
  const overlay = createOverlay(
    { ...options, keys },
    {
      ...deps,
      backend,
      nodes: informer,
      client,
      traffic: createTraffic(
        { masquerade: options.masquerade ?? false, forward: options.forwardRules ?? false, ...deps },
        deps,
      ),
      ...(options.metrics && { metrics: createOverlayMetrics(options.metrics) }),
      ...(options.heartbeat && { heartbeat: options.heartbeat }),
    },
  );
  return {
    state: overlay.state,
    mtu: () => overlay.mtu() ?? (isTunnel(conf) ? 'pending' : undefined),
    run: (signal) => runTogether({ 'overlay informer': informer, overlay }, signal),
  };
}

/** Takes away what an overlay of this node wrote. Idempotent; needs no API server. */
export async function removeNodeOverlay({ log, clock }: ProgramContext, ownOnly = true): Promise<void> {
  await removeOverlay({ subnetFile: SUBNET_FILE, ownOnly }, { log, clock, run });
}
