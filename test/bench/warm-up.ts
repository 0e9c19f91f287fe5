/**
 * Warm `berth up`: packages, images and data are there, neither the daemon nor its Engine runs. Seconds from the command to its end, which
 * is when the node is Ready; and what the same command takes on a host whose data root is empty.
 *
 *     .toolchain/bin/node test/bench/warm-up.ts
 *
 * The file system's caches are warm in both: dropping them would touch every other process on the machine.
 */
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Host } from '../../cli/hosts/host.ts';
import { berth, line, withHost } from './support.ts';

const ITERATIONS = 5;

await withHost('warm-up', async (host) => {
  say(`first up, empty data root: ${(await timedUp(host)).toFixed(2)} s`);
  await berth(host, 'demo');
  await berth(host, 'demo', '--remove');
  const warm: number[] = [];
  for (let i = 0; i < ITERATIONS; i++) {
    // The daemon first: it restarts an Engine that it finds dead.
    await stop(host, '/run/berth/berth.pid');
    await stop(host, '/run/berth/docker.pid');
    warm.push(await timedUp(host));
  }
  say(line('warm up → node Ready', warm, 's'));
  const again = performance.now();
  await berth(host, 'up');
  say(`up where it runs already: ${((performance.now() - again) / 1000).toFixed(2)} s`);
  await berth(host, 'down');
});

async function timedUp(host: Host): Promise<number> {
  const started = performance.now();
  await berth(host, 'up');
  return (performance.now() - started) / 1000;
}

/** Ends the process of a pid file inside the host and waits until it is gone. */
async function stop(host: Host, pidFile: string): Promise<void> {
  const pid = readFileSync(host.path(pidFile), 'utf8').trim();
  await host.run(['kill', pid]);
  while ((await host.run(['kill', '-0', pid])).code === 0) await sleep(50);
}

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}
