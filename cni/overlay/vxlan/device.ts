import { randomBytes } from 'node:crypto';
import { formatMac, type Link } from '../../../src/linux/netlink/links.ts';
import type { Rtnetlink } from '../../../src/linux/netlink/rtnetlink.ts';
import { isNetlinkError } from '../../../src/linux/netlink/socket.ts';
import { decodeVxlan, encodeVxlan, type VxlanData } from '../../../src/linux/netlink/vxlan.ts';
import { ExplainedError } from '../../../src/runtime/explained-error.ts';
import { ensureTunnelAddress, OVERLAY_ALIAS } from '../tunnel-link.ts';

/** A VXLAN device as it is to be. */
export interface VxlanDeviceSpec extends VxlanData {
  name: string;
  mtu: number;
  /** What other nodes have heard of us; the device that is there keeps its own where this is undefined. */
  mac?: string;
  /** Of our pod CIDR the first address, alone: the source of what the node itself sends to pods of others. */
  address: string;
}

export interface VxlanDevice {
  name: string;
  index: number;
  /** Without its length. */
  address: string;
  mac: string;
  /** It was made now: whatever pointed to an earlier one is gone. */
  isNew: boolean;
}

/**
 * Makes the device or finds it again. What can be changed is changed, and only where it differs; a device that differs in the rest is
 * deleted and made anew, as flanneld does. Idempotent, cheap enough for every full sync: three messages when nothing is wrong.
 * @param beforeUp sets what must be set while no packet passes.
 */
export async function ensureVxlanDevice(
  netlink: Rtnetlink,
  spec: VxlanDeviceSpec,
  hooks: { onRecreate(why: string): void; beforeUp(): void },
): Promise<VxlanDevice> {
  let link = await netlink.getLink(spec.name);
  if (link && link.kind !== 'vxlan')
    throw new ExplainedError(
      `overlay vxlan: link ${spec.name} is ${link.kind ? `of kind ${link.kind}` : 'no VXLAN device'}: delete or rename it (ip link delete ${spec.name})`,
    );
  const difference = link && describeDifference(spec, link);
  if (link && difference) {
    hooks.onRecreate(difference);
    await netlink.deleteLink(link.index);
    link = undefined;
  }
  const isNew = !link;
  link ??= await create(netlink, spec);
  const mac = spec.mac ?? link.mac!;
  const change = {
    ...(link.mac !== mac && { mac }),
    ...(link.mtu !== spec.mtu && { mtu: spec.mtu }),
    ...(link.alias !== OVERLAY_ALIAS && { alias: OVERLAY_ALIAS }),
  };
  if (Object.keys(change).length > 0) await netlink.setLink(link.index, change);
  await ensureTunnelAddress(netlink, link.index, spec.address);
  if (!link.up) {
    hooks.beforeUp();
    await netlink.setLink(link.index, { up: true }).catch((error) => {
      if (!isNetlinkError(error, 'EADDRINUSE')) throw error;
      throw new ExplainedError(
        `overlay vxlan: UDP port ${spec.port ?? 8472} is taken by another program (ss -ulpn): end it, or give Backend.Port on all nodes`,
        { cause: error },
      );
    });
  }
  return { name: spec.name, index: link.index, address: spec.address.split('/')[0]!, mac, isNew };
}

/** What of an existing device can't be changed, in words; undefined when all is as wanted. Pure. */
export function describeDifference(spec: VxlanDeviceSpec, link: Pick<Link, 'data'>): string | undefined {
  const have = decodeVxlan(link.data ?? new Map());
  const pairs: [string, unknown, unknown][] = [
    ['VNI', have.id, spec.id],
    ['local address', have.local, spec.local],
    ['uplink', have.lowerIndex, spec.lowerIndex],
    ['UDP port', have.port, spec.port ?? have.port],
    ['learning', have.learning, spec.learning],
    ['group policy', have.groupPolicy, spec.groupPolicy],
    ['group', have.group, undefined],
    ['miss notifications', have.missNotifications, false],
    ['external tunnels', have.external, false],
  ];
  const differing = pairs.filter(([, is, wanted]) => is !== wanted);
  if (differing.length === 0) return undefined;
  return differing.map(([name, is, wanted]) => `${name} ${is ?? 'none'}, wanted ${wanted ?? 'none'}`).join('; ');
}

async function create(netlink: Rtnetlink, spec: VxlanDeviceSpec): Promise<Link> {
  // A MAC given at the making stays: udev leaves alone what is not of the kernel's own choice.
  const mac = spec.mac ?? randomMac();
  try {
    await netlink.createLink({ name: spec.name, kind: 'vxlan', data: encodeVxlan(spec), mac, mtu: spec.mtu });
  } catch (error) {
    throw await explainCreation(netlink, spec, error);
  }
  const link = await netlink.getLink(spec.name);
  if (!link) throw new Error(`overlay vxlan: ${spec.name} was deleted as soon as it was made`);
  return link;
}

async function explainCreation(netlink: Rtnetlink, spec: VxlanDeviceSpec, error: unknown): Promise<unknown> {
  if (isNetlinkError(error, 'EOPNOTSUPP'))
    return new ExplainedError(
      'overlay vxlan: this kernel has no VXLAN: load its module (modprobe vxlan) or choose another backend (host-gw, udp)',
      { cause: error },
    );
  if (isNetlinkError(error, 'EEXIST')) {
    const links = await netlink.listLinks();
    const other = links.find(({ kind, data }) => kind === 'vxlan' && data && decodeVxlan(data).id === spec.id);
    if (other)
      return new ExplainedError(
        `overlay vxlan: link ${other.name} has VNI ${spec.id} on the same port: delete it (ip link delete ${other.name}), or give Backend.VNI on all nodes`,
        { cause: error },
      );
  }
  if (isNetlinkError(error, 'EINVAL', 'ERANGE'))
    return new ExplainedError(
      `overlay vxlan: the kernel refuses ${spec.name} (VNI ${spec.id}, local ${spec.local}, link ${spec.lowerIndex}, MTU ${spec.mtu})`,
      { cause: error },
    );
  return error;
}

/** Of one device, given out by nobody. */
function randomMac(): string {
  const mac = randomBytes(6);
  mac[0] = (mac[0]! & 0xfc) | 0x02;
  return formatMac(mac);
}
