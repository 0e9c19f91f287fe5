import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import { connectTerminals } from '../../../src/docker/terminals.ts';
import { eventually } from '../../support/agent.ts';
import { type PrivateDockerd, startDockerd, whyNoDockerd } from '../../support/dockerd.ts';
import { BUSYBOX_IMAGE, loadTestImages } from '../../support/images.ts';
import { openSockets, startNodeApi } from '../../support/node-api.ts';
import { recordings } from '../../support/stream-clients.ts';

const obstacle = whyNoDockerd();
let daemon: PrivateDockerd | undefined;
if (!obstacle) {
  test.before(async () => {
    daemon = await startDockerd();
    await loadTestImages(daemon.socketPath);
  });
  test.after.always(() => daemon?.stop());
}

/** Processes of a container, by their command lines, as the host's kernel shows them. */
function processesOf(containerId: string): string[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((pid) => {
      try {
        if (!readFileSync(`/proc/${pid}/cgroup`, 'utf8').includes(containerId)) return [];
        return [readFileSync(`/proc/${pid}/cmdline`, 'latin1').replaceAll('\0', ' ').trim()];
      } catch {
        return [];
      }
    });
}

const title =
  'clients that vanish, at every moment of a start and after it, leave no process in the container, no connection to the Engine';
if (obstacle) test(`${title} (skipped: ${obstacle})`, (t) => t.pass());
else
  test(title, async (t) => {
    t.timeout(120_000);
    const { docker, socketPath } = daemon!;
    const { id } = await docker.createContainer('target', {
      Image: BUSYBOX_IMAGE,
      Cmd: ['sleep', '1000'],
      HostConfig: { NetworkMode: 'none' },
    });
    await docker.startContainer(id);
    const before = openSockets();
    const terminals = connectTerminals(`unix://${socketPath}`);
    const api = await startNodeApi({ terminals, containerId: id });
    const streams = recordings().filter(({ name }) => name.endsWith('exec'));

    /** Opens everything and leaves after so long: while the process is being made, started, and while it runs. */
    async function vanish(pieces: Buffer[], afterMs: number, isReset: boolean): Promise<void> {
      const client = await api.openBoth();
      client.tls.resume();
      // Neither good-bye nor the end of the input.
      for (const piece of pieces.slice(0, 4)) client.tls.write(piece);
      await sleep(afterMs);
      if (isReset) client.reset();
      else client.tls.destroy();
      client.tcp.destroy();
    }
    let seen = 0;
    for (const { pieces } of streams)
      for (const afterMs of [0, 10, 30, 80, 200])
        await Promise.all([
          vanish(pieces, afterMs, false),
          vanish(pieces, afterMs, true),
          sleep(afterMs).then(() => {
            seen = Math.max(seen, processesOf(id).length);
          }),
        ]);
    t.true(seen > 1, 'commands did run');
    await eventually(
      "only the container's own process is left, and none comes late",
      async () => {
        if (processesOf(id).length > 1) return false;
        await sleep(500);
        return processesOf(id).length === 1;
      },
      60_000,
    );
    // What is kept for the next clients goes with its owners; whatever else is left has none.
    await api.close();
    terminals.close();
    await eventually('sockets as before', () => openSockets() <= before);
  });
