import { createSocket } from 'node:dgram';
import { setSocketOption } from '../../../src/linux/libc.ts';
import { bindUdp } from '../../../src/linux/netns-listen.ts';
import type { Clock } from '../../../src/runtime/clock.ts';

const SOL_SOCKET = 1;
const SO_NO_CHECK = 11;
/** The first port of traceroute's: nobody listens there. */
const CLOSED_PORT = 33_434;
const ANSWER_MS = 500;
const ATTEMPTS = 3;

/**
 * Whether what we send over VXLAN arrives with a right checksum, by the peer's kernel alone: a datagram to a closed port of its device is
 * answered by ICMP "port unreachable" when its checksum is right, and dropped in silence when it is not. One without a checksum (IPv4 lets
 * senders leave it out) tells a broken checksum from a peer that answers nobody.
 *
 * @param from our device's address, `10.244.1.0`. @param to the peer's.
 */
export async function probeChecksums(
  from: string,
  to: string,
  deps: { clock: Clock; hostNetns?: string },
): Promise<'sound' | 'broken' | 'unknown'> {
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    if (await isAnswered(from, to, true, deps)) return 'sound';
    if (!(await isAnswered(from, to, false, deps))) return 'unknown';
  }
  return 'broken';
}

async function isAnswered(
  from: string,
  to: string,
  withChecksum: boolean,
  { clock, hostNetns }: { clock: Clock; hostNetns?: string },
): Promise<boolean> {
  const fd = bindUdp(hostNetns, from, 0);
  if (!withChecksum) setSocketOption(fd, SOL_SOCKET, SO_NO_CHECK, 1, 'SO_NO_CHECK');
  const socket = createSocket('udp4');
  const { promise, resolve } = Promise.withResolvers<boolean>();
  // ECONNREFUSED is the ICMP message; anything else (no route, say) is no answer.
  socket.on('error', (error) => resolve((error as NodeJS.ErrnoException).code === 'ECONNREFUSED'));
  socket.on('message', () => resolve(true));
  // After a turn of the event loop: where it was held up, the answer has come and waits to be read.
  const cancel = clock.after(ANSWER_MS, () => setImmediate(resolve, false));
  try {
    socket.bind({ fd }, () => {
      // Without a route the callback is given the error, and the socket is connected to nobody.
      const ask = (error?: Error) => (error ? resolve(false) : socket.send('checksum?'));
      socket.connect(CLOSED_PORT, to, ask as () => void);
    });
    return await promise;
  } finally {
    cancel();
    socket.close();
  }
}
