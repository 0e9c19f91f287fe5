/** Moves packets of backend udp, and ends in the middle of it, as a program does that fails: `node udp-exit-child.ts NETNS SELF EXIT_CODE`. */
import { readdirSync, readFileSync } from 'node:fs';
import { createUdp } from '../../cni/overlay/udp/udp.ts';
import { systemClock } from '../../src/runtime/clock.ts';
import { silentLogger } from '../../src/runtime/log.ts';

/** poll(2) on x86-64; ppoll(2), which stands for it, on arm64. */
const POLL_CALLS = ['7', '73'];

const [netns, self, exitCode] = process.argv.slice(2) as [string, string, string];
const backend = createUdp({ port: 8285 }, { log: silentLogger, clock: systemClock, hostNetns: netns });
void backend.run!(new AbortController().signal);
await backend.ensure(JSON.parse(self));
await backend.sync(new Map());
while (!readdirSync('/proc/self/task').some(waitsForPackets)) await systemClock.sleep(20);
process.exit(Number(exitCode));

/** The event loop's thread waits by epoll, the others for each other. */
function waitsForPackets(thread: string): boolean {
  const [call] = readFileSync(`/proc/self/task/${thread}/syscall`, 'utf8').split(' ');
  return POLL_CALLS.includes(call!);
}
