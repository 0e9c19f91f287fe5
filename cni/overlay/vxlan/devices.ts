import { formatIp, networkOf, parsePrefix } from '../../../src/linux/ip.ts';
import type { Rtnetlink } from '../../../src/linux/netlink/rtnetlink.ts';
import { isNetlinkError } from '../../../src/linux/netlink/socket.ts';
import { ExplainedError } from '../../../src/runtime/explained-error.ts';
import type { Logger } from '../../../src/runtime/log.ts';
import type { PerFamily, SelfNode } from '../backend.ts';
import { OVERLAY_ALIAS, setTunnelSysctls } from '../tunnel-link.ts';
import { findUnderlayAddress } from '../underlay-address.ts';
import { readVtepMac } from './backend-data.ts';
import { ensureVxlanDevice, type VxlanDevice } from './device.ts';
import type { VxlanOptions } from './options.ts';

export const FAMILIES = [4, 6] as const;

/** Outer Ethernet, IP, UDP and VXLAN headers. */
const OVERHEAD_BYTES = { 4: 50, 6: 70 } as const;
/** Below these the kernel has no such addresses on a link. */
const LEAST_MTU = { 4: 68, 6: 1280 } as const;
const LINK_NAME = /^flannel(-v6)?\.\d+$/;

/** This node's device per family. */
export interface VxlanDevices {
  /** Makes them, or finds and mends them; deletes those of another VNI or of a family that the node has no more. */
  ensure(node: SelfNode): Promise<PerFamily<VxlanDevice>>;
  /** What a pod's packet may have, in the family that leaves least. @throws ExplainedError when the uplink carries too little. */
  mtu(node: SelfNode): number;
  /** Deletes all of ours, of whatever VNI. */
  remove(): Promise<void>;
}

export function createVxlanDevices(
  options: VxlanOptions,
  netlink: Rtnetlink,
  deps: { log: Logger; hostNetns?: string },
): VxlanDevices {
  const { log, hostNetns } = deps;
  /** Said once, others go by it: a device that is made anew gets back what it had. */
  const macs: PerFamily<string> = {};
  /** The names beside which no others of ours are left. */
  let tidiedFor: string | undefined;

  function mtuOf({ uplink }: SelfNode, family: 4 | 6): number {
    // More than the uplink carries is of no use: every large packet would be cut in pieces or lost.
    const mtu = Math.min(options.mtu || uplink.mtu, uplink.mtu) - OVERHEAD_BYTES[family];
    if (mtu < LEAST_MTU[family])
      throw new ExplainedError(
        `overlay vxlan: ${mtu + OVERHEAD_BYTES[family]} bytes of MTU on ${uplink.name} leave ${mtu} for IPv${family}, which needs ${LEAST_MTU[family]}`,
      );
    return mtu;
  }

  async function ensureOne(node: SelfNode, family: 4 | 6): Promise<VxlanDevice> {
    const name = linkName(options.vni, family);
    const podCidr = networkOf(parsePrefix(node.podCidrs[family]!));
    const earlier = readVtepMac(node.earlierData?.[family], options.vni);
    const device = await ensureVxlanDevice(
      netlink,
      {
        name,
        id: options.vni,
        local: await findUnderlayAddress(netlink, node, family),
        lowerIndex: node.uplink.index,
        ...(options.port > 0 && { port: options.port }),
        learning: options.learning,
        groupPolicy: options.groupPolicy,
        mtu: mtuOf(node, family),
        mac: macs[family] ?? ('mac' in earlier ? earlier.mac : undefined),
        address: `${formatIp(podCidr.address)}/${podCidr.address.length * 8}`,
      },
      {
        onRecreate: (why) => log.warn({ link: name, why }, 'the VXLAN device is made anew: it differs'),
        beforeUp: () => setTunnelSysctls(name, hostNetns),
      },
    );
    if (device.isNew) log.info({ link: name, index: device.index, mac: device.mac }, 'VXLAN device made');
    macs[family] = device.mac;
    return device;
  }

  async function removeBut(wanted: readonly string[]): Promise<void> {
    for (const { kind, name, index, alias } of await netlink.listLinks())
      if (kind === 'vxlan' && LINK_NAME.test(name) && alias === OVERLAY_ALIAS && !wanted.includes(name))
        await netlink.deleteLink(index).catch((error) => {
          if (!isNetlinkError(error, 'ENODEV')) throw error;
        });
  }

  return {
    async ensure(node) {
      const families = familiesOf(node);
      const names = families.map((family) => linkName(options.vni, family));
      // Once: every pod has a link, and a list of them all is long.
      if (names.join() !== tidiedFor) await removeBut(names);
      tidiedFor = names.join();
      const devices: PerFamily<VxlanDevice> = {};
      for (const family of families) devices[family] = await ensureOne(node, family);
      return devices;
    },
    mtu: (node) => Math.min(...familiesOf(node).map((family) => mtuOf(node, family))),
    remove: () => removeBut([]),
  };
}

function familiesOf({ name, podCidrs, publicIps }: SelfNode): (4 | 6)[] {
  const families = FAMILIES.filter((family) => podCidrs[family] && publicIps[family]);
  if (families.length === 0)
    throw new ExplainedError(`overlay vxlan: node ${name} has no pod CIDR with an address of the same family`);
  return families;
}

function linkName(vni: number, family: 4 | 6): string {
  return family === 4 ? `flannel.${vni}` : `flannel-v6.${vni}`;
}
