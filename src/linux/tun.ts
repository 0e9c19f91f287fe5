import { closeSync, constants, openSync } from 'node:fs';
import koffi from 'koffi';
import { SyscallError } from './libc.ts';
import { inNetns } from './netns.ts';

const ioctlCall = koffi.load('libc.so.6').func('int ioctl(int fd, unsigned long request, ...)');

const TUNSETIFF = 0x4004_54ca;
const TUNSETPERSIST = 0x4004_54cb;
const IFF_TUN = 0x1;
/** Packets as they are, without a header of the driver's. */
const IFF_NO_PI = 0x1000;
const IFREQ_BYTES = 40;
const IFNAMSIZ = 16;

/**
 * Opens the TUN link of that name, or makes it: IP packets that are sent over it are read from the descriptor, and the other way round. It stays
 * when the descriptor is closed, with its addresses and routes, until somebody deletes it. The descriptor does not block.
 *
 * @throws SyscallError EBUSY: another process has it open; EINVAL: the name is another kind of link's. The error of open(2) where the kernel has
 * no TUN (ENOENT, ENODEV) or none for us (EACCES, EPERM).
 */
export function openTun(name: string, netns?: string): number {
  return inNetns<number>(netns, () => {
    // A TUN belongs to the namespace in which its file was opened.
    const fd = openSync('/dev/net/tun', constants.O_RDWR | constants.O_NONBLOCK);
    try {
      const ifreq = Buffer.alloc(IFREQ_BYTES);
      ifreq.write(name, 0, IFNAMSIZ - 1);
      ifreq.writeUInt16LE(IFF_TUN | IFF_NO_PI, IFNAMSIZ);
      if (ioctlCall(fd, TUNSETIFF, 'void *', ifreq) !== 0) throw new SyscallError('TUNSETIFF', koffi.errno(), name);
      if (ioctlCall(fd, TUNSETPERSIST, 'unsigned long', 1) !== 0)
        throw new SyscallError('TUNSETPERSIST', koffi.errno(), name);
      return fd;
    } catch (error) {
      closeSync(fd);
      throw error;
    }
  });
}
