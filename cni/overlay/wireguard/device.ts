import { formatIp, networkOf, parsePrefix } from '../../../src/linux/ip.ts';
import type { Rtnetlink } from '../../../src/linux/netlink/rtnetlink.ts';
import { isNetlinkError } from '../../../src/linux/netlink/socket.ts';
import type { Wireguard } from '../../../src/linux/netlink/wireguard.ts';
import { publicKeyOf } from '../../../src/linux/wireguard-key.ts';
import { ExplainedError } from '../../../src/runtime/explained-error.ts';
import type { SelfNode } from '../backend.ts';
import { ensureTunnelAddress, OVERLAY_ALIAS, setTunnelSysctls } from '../tunnel-link.ts';
import { PRIVATE_KEY_FILE } from './options.ts';
import { type DevicePlan, LINK_NAMES } from './plan.ts';
import { removePrivateKey } from './private-key.ts';

/**
 * Makes the device or finds it again, with key, port, MTU and addresses as wanted; answers its index. Idempotent. Peers of a device that has
 * our key stay: a restart interrupts nothing. All can be changed while it is up, so that it is never made anew.
 */
export async function ensureWireguardDevice(
  netlink: Rtnetlink,
  wireguard: Wireguard,
  device: DevicePlan,
  wanted: { privateKey: string; mtu: number; podCidrs: SelfNode['podCidrs']; hostNetns: string | undefined },
): Promise<number> {
  const { name, listenPort } = device;
  const link = (await netlink.getLink(name)) ?? (await create(netlink, name, wanted.mtu));
  if (link.kind !== 'wireguard')
    throw new ExplainedError(
      `overlay wireguard: link ${name} is ${link.kind ? `of kind ${link.kind}` : 'no WireGuard device'}: delete or rename it (ip link delete ${name})`,
    );
  const have = await wireguard.getDevice(name);
  if (have.publicKey !== publicKeyOf(wanted.privateKey) || have.listenPort !== listenPort)
    await explainPort(listenPort, wireguard.setDevice(name, { privateKey: wanted.privateKey, listenPort }));
  if (link.mtu !== wanted.mtu || link.alias !== OVERLAY_ALIAS)
    await netlink.setLink(link.index, { mtu: wanted.mtu, alias: OVERLAY_ALIAS });
  for (const family of device.carries) {
    // Of our pod CIDR the first address, alone: what the node itself sends to others' pods, who take from us our pods' addresses only.
    const { address } = networkOf(parsePrefix(wanted.podCidrs[family]!));
    await ensureTunnelAddress(netlink, link.index, `${formatIp(address)}/${address.length * 8}`);
  }
  if (!link.up) {
    setTunnelSysctls(name, wanted.hostNetns);
    await explainPort(listenPort, netlink.setLink(link.index, { up: true }));
  }
  return link.index;
}

async function create(netlink: Rtnetlink, name: string, mtu: number) {
  try {
    await netlink.createLink({ name, kind: 'wireguard', mtu });
  } catch (error) {
    if (isNetlinkError(error, 'EOPNOTSUPP')) throw noWireguard(error);
    throw error;
  }
  const link = await netlink.getLink(name);
  if (!link) throw new Error(`overlay wireguard: ${name} was deleted as soon as it was made`);
  return link;
}

export function noWireguard(cause?: unknown): ExplainedError {
  return new ExplainedError(
    'overlay wireguard: this kernel has no WireGuard: it needs Linux 5.6 and the module wireguard (modprobe wireguard), or choose another backend (vxlan)',
    { cause },
  );
}

async function explainPort(port: number, work: Promise<void>): Promise<void> {
  await work.catch((error) => {
    if (!isNetlinkError(error, 'EADDRINUSE')) throw error;
    throw new ExplainedError(
      `overlay wireguard: UDP port ${port} is taken by another program (ss -ulpn): end it, or give Backend.ListenPort on all nodes`,
      { cause: error },
    );
  });
}

/** Deletes our devices but those named. flanneld's stay: whoever takes its place deletes them (leftovers.ts). Idempotent. */
export async function removeWireguardDevices(netlink: Rtnetlink, but: readonly string[] = []): Promise<void> {
  for (const name of Object.values(LINK_NAMES)) {
    if (but.includes(name)) continue;
    const link = await netlink.getLink(name);
    if (link?.kind !== 'wireguard' || link.alias !== OVERLAY_ALIAS) continue;
    await netlink.deleteLink(link.index).catch((error) => {
      if (!isNetlinkError(error, 'ENODEV')) throw error;
    });
  }
}

/** The node's key where nobody has a device with it any more: flanneld keeps its own at the same place. One of Backend.PrivateKeyFile stays. */
export async function removeUnusedKey(netlink: Rtnetlink, path = PRIVATE_KEY_FILE): Promise<void> {
  for (const name of Object.values(LINK_NAMES)) if ((await netlink.getLink(name))?.kind === 'wireguard') return;
  removePrivateKey(path);
}
