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
const IFF_TAP = 0x2;
const IFF_MULTI_QUEUE = 0x100;
/** Frames as they are, without a header of the driver's. */
const IFF_NO_PI = 0x1000;
const IFREQ_BYTES = 40;
const IFNAMSIZ = 16;

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
 * virtual machine's.
 * @throws SyscallError EBUSY: a program has a link of that name open; EINVAL: one of another kind has the name. The error of open(2) where the
 * kernel has no TAP (ENOENT, ENODEV) or none for us (EACCES, EPERM).
 */
export function createTap(spec: TapSpec, netns?: string): void {
  inNetns(netns, () => {
    // It belongs to the namespace in which the file was opened.
    const fd = openSync('/dev/net/tun', constants.O_RDWR | constants.O_NONBLOCK);
    try {
      const ifreq = Buffer.alloc(IFREQ_BYTES);
      ifreq.write(spec.name, 0, IFNAMSIZ - 1);
      const flags = IFF_TAP | IFF_NO_PI | (spec.multiQueue ? IFF_MULTI_QUEUE : 0);
      new Uint16Array(ifreq.buffer, ifreq.byteOffset + IFNAMSIZ, 1)[0] = flags;
      check(ioctlCall(fd, TUNSETIFF, 'void *', ifreq), 'TUNSETIFF', spec.name);
      for (const [request, id, what] of [
        [TUNSETOWNER, spec.owner, 'TUNSETOWNER'],
        [TUNSETGROUP, spec.group, 'TUNSETGROUP'],
        [TUNSETPERSIST, 1, 'TUNSETPERSIST'],
      ] as const)
        if (id !== undefined) check(ioctlCall(fd, request, 'unsigned long', id), what, spec.name);
    } finally {
      closeSync(fd);
    }
  });
}

function check(result: number, call: string, name: string): void {
  if (result !== 0) throw new SyscallError(call, koffi.errno(), name);
}
