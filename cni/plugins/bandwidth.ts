/**
 * Limits of bandwidth: chained behind a plugin that connects the container by a veth pair.
 *
 *     towards the pod    the host end's root discipline delays what it sends
 *     from the pod       the host end's ingress is redirected to an ifb link of the pod's own, whose root discipline does
 *
 * Without subnets the discipline is a token bucket (tbf); with them, as plugins 1.9 do, htb with a limited and a free class. Names, handles
 * and numbers are the reference plugin's, so that either checks and removes what the other made. What stands on the veth goes with it.
 * Difference: a subnet is the other side's in both directions; the reference plugin looks at the destination, which on the way in is the pod.
 */
import { classify, redirectIngress } from '../../src/linux/netlink/filters.ts';
import type { Link } from '../../src/linux/netlink/links.ts';
import {
  addHtb,
  addHtbClass,
  addIngress,
  addTokenBucket,
  bufferTicks,
  deleteQdisc,
  handle,
  INGRESS,
  listHtbClasses,
  listQdiscs,
  ROOT,
} from '../../src/linux/netlink/qdiscs.ts';
import { openRtnetlink, type Rtnetlink } from '../../src/linux/netlink/rtnetlink.ts';
import { isNetlinkError } from '../../src/linux/netlink/socket.ts';
import { runAll } from '../../src/runtime/run-all.ts';
import { hashName } from '../hash-name.ts';
import { type AttachmentKey, type AttachRequest, CNI_ERROR, CniError, type CniResult, type Plugin } from '../types.ts';
import { asCniError, broken, ignoreGone } from './failure.ts';
import { formatHostVethAlias, parseHostVethAlias } from './host-veth.ts';

/** A limit in one direction. */
export interface Shape {
  rateBytes: number;
  burstBytes: number;
}

export interface BandwidthConfig {
  /** The network's name. */
  network: string;
  /** Towards the pod. */
  ingress: Shape | undefined;
  /** From the pod. */
  egress: Shape | undefined;
  /** Only this traffic is limited; empty: all. */
  shapedSubnets: readonly string[];
  /** This traffic is not. At most one of the two lists has any. */
  unshapedSubnets: readonly string[];
}

/** How long a packet may wait. */
const LATENCY_SECONDS = 0.025;
const IFNAME_LENGTH = 15;
const LEAST_QUEUE_LENGTH = 1000;
/** Minor numbers of htb's classes, and the rate of the one that limits nothing, in bytes a second. */
const [FREE, LIMITED] = [1, 48];
const FREE_RATE_BYTES = 100_000_000_000;
const FREE_BURST_BYTES = 1 << 20;

/** The link through which a pod's traffic leaves when it is limited. */
export const ifbName = (network: string, containerId: string) => hashName(IFNAME_LENGTH, 'bwp', network + containerId);

/** @param host a route socket of the host's namespace; stays open */
export function createBandwidth(host: Rtnetlink): Plugin<BandwidthConfig> {
  async function removeIfb(network: string, containerId: string): Promise<void> {
    await host.deleteLink(ifbName(network, containerId)).catch(ignoreGone);
  }

  async function limit(config: BandwidthConfig, request: AttachRequest, veth: Link): Promise<Link | undefined> {
    const { ingress, egress } = config;
    if (ingress) await shape(host, veth.index, ingress, config, 'source');
    if (!egress) return undefined;
    const name = ifbName(config.network, request.containerId);
    await host.createLink({ name, kind: 'ifb', mtu: veth.mtu });
    const alias = formatHostVethAlias({ ...request, network: config.network, pod: '' });
    await host.setLink(name, { alias, up: true, txQueueLength: Math.max(veth.txQueueLength, LEAST_QUEUE_LENGTH) });
    const ifb = (await host.getLink(name))!;
    // The limit stands before the first packet comes.
    await shape(host, ifb.index, egress, config, 'destination');
    await addIngress(host, veth.index);
    await redirectIngress(host, veth.index, ifb.index);
    return ifb;
  }

  return {
    type: 'bandwidth',

    async add(config, request, previous) {
      if (!config.ingress && !config.egress) return previous ?? { interfaces: [], ips: [], routes: [] };
      const veth = await findHostEnd(host, request, chained(previous));
      const undo = () =>
        runAll('roll back', [() => removeIfb(config.network, request.containerId), () => clear(host, veth.index)]);
      try {
        // What a half-finished earlier ADD left.
        await undo();
        const ifb = await limit(config, request, veth);
        const added = ifb ? [{ name: ifb.name, ...(ifb.mac && { mac: ifb.mac }), sandbox: '' }] : [];
        return { ...previous!, interfaces: [...previous!.interfaces, ...added] };
      } catch (error) {
        await undo().catch(() => {});
        throw asCniError(error);
      }
    },

    async del({ network }, { containerId }) {
      await removeIfb(network, containerId);
    },

    async check(config, request, result) {
      const veth = await findHostEnd(host, request, result);
      if (config.ingress) await checkShape(host, veth, config.ingress, config);
      if (!config.egress) return;
      const name = ifbName(config.network, request.containerId);
      const ifb = await host.getLink(name);
      if (!ifb) throw broken(`bandwidth: the link ${name} is missing`);
      await checkShape(host, ifb, config.egress, config);
      const ingress = (await listQdiscs(host, veth.index)).some(({ kind }) => kind === 'ingress');
      if (!ingress) throw broken(`bandwidth: what comes in by ${veth.name} does not go through ${name}`);
    },

    async gc({ network }, valid: readonly AttachmentKey[]) {
      const keep = new Set(valid.map(({ containerId }) => ifbName(network, containerId)));
      const stale = (await host.listLinks()).filter(
        ({ kind, name, alias }) => kind === 'ifb' && parseHostVethAlias(alias)?.network === network && !keep.has(name),
      );
      await runAll(
        `collect limits of network ${network}`,
        stale.map(
          ({ index }) =>
            () =>
              host.deleteLink(index).catch(ignoreGone),
        ),
      );
    },

    async status() {},
  };
}

/** The veth's end on the host: the container's interface tells its index. */
async function findHostEnd(host: Rtnetlink, { netns, ifname }: AttachRequest, result: CniResult): Promise<Link> {
  const pod = openRtnetlink(netns);
  try {
    const inside = await pod.getLink(ifname);
    const index = inside?.kind === 'veth' ? inside.peerIndex : undefined;
    if (index === undefined)
      throw new CniError(CNI_ERROR.invalidNetworkConfig, `bandwidth: container interface ${ifname} has no veth peer`, {
        details: 'limits need a plugin before this one that makes a veth pair: bridge or ptp',
      });
    const link = await host.getLink(index);
    if (link && result.interfaces.some(({ name, sandbox }) => sandbox === '' && name === link.name)) return link;
    throw new CniError(
      CNI_ERROR.invalidNetworkConfig,
      `bandwidth: the other end of ${ifname} is no host interface of the result`,
    );
  } finally {
    pod.close();
  }
}

async function shape(
  host: Rtnetlink,
  index: number,
  to: Shape,
  config: BandwidthConfig,
  end: 'source' | 'destination',
) {
  const { shapedSubnets, unshapedSubnets } = config;
  if (!hasSubnets(config)) {
    // As long as the bucket, and what comes within the latency.
    const limitBytes = Math.floor(to.rateBytes * LATENCY_SECONDS) + to.burstBytes;
    return addTokenBucket(host, index, { ...to, limitBytes });
  }
  await addHtb(host, index, defaultClass(config));
  await addHtbClass(host, index, { minor: LIMITED, ...to });
  await addHtbClass(host, index, { minor: FREE, rateBytes: FREE_RATE_BYTES, burstBytes: FREE_BURST_BYTES });
  for (const subnet of shapedSubnets) await classify(host, index, { subnet, end, minor: LIMITED });
  for (const subnet of unshapedSubnets) await classify(host, index, { subnet, end, minor: FREE });
}

/** Of either discipline, since a plugin of another version may have made it. */
async function checkShape(
  host: Rtnetlink,
  { index, name }: Link,
  wanted: Shape,
  config: BandwidthConfig,
): Promise<void> {
  const root = (await listQdiscs(host, index)).find((qdisc) => qdisc.parent === ROOT && qdisc.handle === handle(1));
  const limited = (await listHtbClasses(host, index)).find((one) => one.handle === handle(1, LIMITED));
  const found = root?.kind === 'htb' && root.defaultClass === defaultClass(config) ? limited : root?.tokenBucket;
  if (!found || (hasSubnets(config) && root?.kind !== 'htb')) throw broken(`bandwidth: ${name} has no limit`);
  if (found.rateBytes !== wanted.rateBytes)
    throw broken(`bandwidth: the limit of ${name} is ${found.rateBytes} B/s, not ${wanted.rateBytes}`);
  const ticks = bufferTicks(wanted.rateBytes, wanted.burstBytes);
  // Of what does not fit into 32 bits the kernel shows the rest.
  if (ticks <= 0xffff_ffff && found.bufferTicks !== ticks)
    throw broken(`bandwidth: the burst of ${name} is not ${wanted.burstBytes} B`);
}

/** Takes our disciplines from a link. */
async function clear(host: Rtnetlink, index: number): Promise<void> {
  const own = (await listQdiscs(host, index)).filter(
    ({ kind, handle: id }) => kind === 'ingress' || ((kind === 'tbf' || kind === 'htb') && id === handle(1)),
  );
  for (const { kind } of own)
    await deleteQdisc(host, index, kind === 'ingress' ? INGRESS : ROOT).catch((error) => {
      if (!isNetlinkError(error, 'ENOENT', 'EINVAL', 'ENODEV')) throw error;
    });
}

const hasSubnets = ({ shapedSubnets, unshapedSubnets }: BandwidthConfig) =>
  shapedSubnets.length + unshapedSubnets.length > 0;
const defaultClass = ({ shapedSubnets }: BandwidthConfig) => (shapedSubnets.length > 0 ? FREE : LIMITED);

function chained(previous: CniResult | undefined): CniResult {
  if (previous) return previous;
  throw new CniError(CNI_ERROR.invalidNetworkConfig, 'bandwidth: must be called as chained plugin');
}
