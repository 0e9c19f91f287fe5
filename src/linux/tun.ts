import { closeSync, constants, openSync } from 'node:fs';
import koffi from 'koffi';
import { SyscallError } from './libc.ts';
import { inNetns } from './netns.ts';

const ioctlCall = koffi.load('libc.so.6').func('int ioctl(int fd, unsigned long request, ...)');

/** Numbers of linux/if_tun.h. */
const TUNSETIFF = 0x4004_54ca;
const TUNSETPERSIST = 0x4004_54cb;
const TUNSETOWNER = 0x4004_54cc;
const TUNSETGROUP = 0x4004_54ce;
const IFF_TUN = 0x1;
const IFF_TAP = 0x2;
const IFF_MULTI_QUEUE = 0x100;
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
  return openPersistent(name, IFF_TUN, netns);
}

export interface TapSpec {
  name: string;
  /** Several programs, or threads of one, read it side by side. */
  multiQueue: boolean;
  /** User and group ids of who may open it beside root. */
  owner: number | undefined;
  group: number | undefined;
}

/**
 * Makes a TAP link, down, which stays until somebody deletes it: an Ethernet whose other end is a program that opens it by name, like a
 * virtual machine's. @throws as `openTun`.
 */
export function createTap({ name, multiQueue, owner, group }: TapSpec, netns?: string): void {
  closeSync(openPersistent(name, IFF_TAP | (multiQueue ? IFF_MULTI_QUEUE : 0), netns, { owner, group }));
}

function openPersistent(
  name: string,
  flags: number,
  netns: string | undefined,
  { owner, group }: { owner?: number; group?: number } = {},
): number {
  return inNetns<number>(netns, () => {
    // A link belongs to the namespace in which its file was opened.
    const fd = openSync('/dev/net/tun', constants.O_RDWR | constants.O_NONBLOCK);
    try {
      const ifreq = Buffer.alloc(IFREQ_BYTES);
      ifreq.write(name, 0, IFNAMSIZ - 1);
      ifreq.writeUInt16LE(flags | IFF_NO_PI, IFNAMSIZ);
      check(ioctlCall(fd, TUNSETIFF, 'void *', ifreq), 'TUNSETIFF', name);
      if (owner !== undefined) check(ioctlCall(fd, TUNSETOWNER, 'unsigned long', owner), 'TUNSETOWNER', name);
      if (group !== undefined) check(ioctlCall(fd, TUNSETGROUP, 'unsigned long', group), 'TUNSETGROUP', name);
      check(ioctlCall(fd, TUNSETPERSIST, 'unsigned long', 1), 'TUNSETPERSIST', name);
      return fd;
    } catch (error) {
      closeSync(fd);
      throw error;
    }
  });
}

function check(result: number, call: string, name: string): void {
  if (result !== 0) throw new SyscallError(call, koffi.errno(), name);
}
