import { closeSync, openSync, readdirSync, readlinkSync } from 'node:fs';
import { RawNetlinkSocket } from 'netlink/dist/raw.js';
import { setSocketOption } from '../libc.ts';
import { inNetns } from '../netns.ts';

const SOL_NETLINK = 270;
const NETLINK_NO_ENOBUFS = 5;

/**
 * A raw socket of the `netlink` package that lives through a full buffer. To the package that is a socket in error, for which its native
 * code makes an exception where it has no scope to make one: the process ends ("terminate called … Error in native callback"). With
 * NETLINK_NO_ENOBUFS the kernel drops what does not fit and says nothing: a request then times out, and who listens for changes
 * must have another way to see that he has missed some.
 *
 * @param netns path of the network namespace in which it lives; the process's own unless given
 */
export function openRawSocket(
  protocol: number,
  options: { recvBufferSize: number; sendBufferSize: number },
  netns?: string,
): RawNetlinkSocket {
  const { raw, lowest } = inNetns<{ raw: RawNetlinkSocket; lowest: number }>(netns, () => {
    const free = lowestFreeDescriptor();
    return { raw: new RawNetlinkSocket(protocol, options), lowest: free };
  });
  // The package keeps the descriptor to itself. Mostly it is the lowest that was free; else another thread was quicker.
  if (!isQuieted(lowest)) readdirSync('/proc/self/fd').map(Number).forEach(isQuieted);
  return raw;
}

function lowestFreeDescriptor(): number {
  const fd = openSync('/dev/null', 'r');
  closeSync(fd);
  return fd;
}

/** Sets the option, which only netlink sockets have, and does them no harm. */
function isQuieted(fd: number): boolean {
  try {
    if (!readlinkSync(`/proc/self/fd/${fd}`).startsWith('socket:')) return false;
    setSocketOption(fd, SOL_NETLINK, NETLINK_NO_ENOBUFS, 1, 'NETLINK_NO_ENOBUFS');
    return true;
  } catch {
    return false;
  }
}
