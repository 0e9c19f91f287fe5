import { closeSync } from 'node:fs';
import { constants } from 'node:os';
import koffi from 'koffi';
import { SyscallError, udpSocket } from './libc.ts';
import { inNetns } from './netns.ts';

const ioctlCall = koffi.load('libc.so.6').func('int ioctl(int fd, unsigned long request, _Inout_ void *argument)');

const SIOCETHTOOL = 0x8946;
const ETHTOOL_GTXCSUM = 0x16;
const ETHTOOL_STXCSUM = 0x17;
/** struct ifreq on 64-bit Linux: the name, then a union in which a pointer comes first. */
const IFREQ_BYTES = 40;
const IFNAMSIZ = 16;

/**
 * Whether a link leaves checksums of what it sends to whoever comes after it: the hardware, or the link below. `ethtool -k`'s
 * `tx-checksumming`, asked and set by ioctl, which every kernel has; those that need it off are older than ethtool's netlink.
 * undefined when the link has no such thing to tell.
 * @throws SyscallError ENODEV
 */
export function readTxChecksumOffload(link: string, netns?: string): boolean | undefined {
  try {
    return ethtoolValue(link, ETHTOOL_GTXCSUM, 0, netns) !== 0;
  } catch (error) {
    if (error instanceof SyscallError && error.errno === constants.errno.EOPNOTSUPP) return undefined;
    throw error;
  }
}

/** For a VXLAN link this is `ethtool -K <link> tx-checksum-ip-generic on|off`; segmentation in the hardware goes and comes with it. @throws SyscallError */
export function setTxChecksumOffload(link: string, on: boolean, netns?: string): void {
  ethtoolValue(link, ETHTOOL_STXCSUM, on ? 1 : 0, netns);
}

/** struct ethtool_value: the command and a number. */
function ethtoolValue(link: string, command: number, value: number, netns: string | undefined): number {
  const data = Buffer.alloc(8);
  data.writeUInt32LE(command, 0);
  data.writeUInt32LE(value, 4);
  const ifreq = Buffer.alloc(IFREQ_BYTES);
  ifreq.write(link, 0, IFNAMSIZ - 1);
  ifreq.writeBigUInt64LE(BigInt(koffi.address(data)), IFNAMSIZ);
  const fd = inNetns<number>(netns, () => udpSocket(4));
  try {
    if (ioctlCall(fd, SIOCETHTOOL, ifreq) !== 0) throw new SyscallError('ioctl SIOCETHTOOL', koffi.errno(), link);
    return data.readUInt32LE(4);
  } finally {
    closeSync(fd);
  }
}
