/**
 * Takes a CPU profile of a running Node.js process through its inspector, for some seconds, and writes it to stdout. Runs inside the host of
 * that process:  node profile-child.ts PID SECONDS
 */
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';

const [pid, seconds] = process.argv.slice(2).map(Number);
process.kill(pid!, 'SIGUSR1');
const [target] = await targets();
const socket = new WebSocket(target!.webSocketDebuggerUrl);
await once(socket, 'open');
await call(1, 'Profiler.enable');
await call(2, 'Profiler.start');
await sleep(seconds! * 1000);
const { profile } = await call(3, 'Profiler.stop');
process.stdout.write(JSON.stringify(profile), () => process.exit(0));

/** The inspector listens some time after the signal. */
async function targets(): Promise<{ webSocketDebuggerUrl: string }[]> {
  for (;;) {
    try {
      return (await (await fetch('http://127.0.0.1:9229/json')).json()) as { webSocketDebuggerUrl: string }[];
    } catch {
      await sleep(100);
    }
  }
}

async function call(id: number, method: string): Promise<{ profile?: unknown }> {
  socket.send(JSON.stringify({ id, method }));
  for (;;) {
    const [{ data }] = await once(socket, 'message');
    const message = JSON.parse(data);
    if (message.id === id) return message.result;
  }
}
