/** kill -9 at random moments of attach and detach: the next process repairs, and nothing stays behind. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { createPodNetwork } from '../../../cni/invoke/pod-network.ts';
import { systemClock } from '../../../src/runtime/clock.ts';
import { silentLogger } from '../../../src/runtime/log.ts';
import { createTestNetns } from '../../support/netns.ts';

const ROUNDS = 12;

test('an attachment that was killed half-way is completed or released by the next process', async (t) => {
  const host = await createTestNetns(t, 'host');
  const pod = await createTestNetns(t, 'pod');
  const dataDir = mkdtempSync(join(tmpdir(), 'crash-'));
  t.teardown(() => rmSync(dataDir, { recursive: true }));
  const sandbox = { sandboxId: 'crash', netnsPath: pod.path, namespace: 'ns', name: 'pod', uid: 'uid', hostPorts: [] };
  const leases = () => readdirSync(join(dataDir, 'berth')).filter((name) => /^\d+\./.test(name));
  const links = async () => (await host.ipJson<{ ifname: string }>('link')).map(({ ifname }) => ifname);

  for (let round = 0; round < ROUNDS; round++) {
    const script = join(import.meta.dirname, '../../support/attach-child.ts');
    const child = spawn(process.execPath, [script, host.path, pod.path, dataDir], {
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    await once(child.stdout, 'data');
    await systemClock.sleep(Math.random() * 40);
    child.kill('SIGKILL');
    await once(child, 'exit');

    const network = createPodNetwork(
      { podCidrs: () => ['10.244.1.0/28'], dataDir, cacheDir: dataDir, hostNetns: host.path },
      { log: silentLogger, clock: systemClock },
    );
    try {
      const { ips } = await network.attach(sandbox, new AbortController().signal);
      t.deepEqual(leases(), ips);
      t.deepEqual((await links()).filter((name) => name.startsWith('veth')).length, 1);
      await t.notThrowsAsync(host.run('busybox', ['ping', '-c1', '-W20', ips[0]!]));
      if (round % 2) await network.detach(sandbox);
      else await createCollector().collect(new Set());
      t.deepEqual(leases(), []);
      t.deepEqual(await links(), ['lo', 'cni0']);
    } finally {
      network.close();
    }
  }

  /** As a process that starts after all pods are gone. */
  function createCollector() {
    const network = createPodNetwork(
      { podCidrs: () => ['10.244.1.0/28'], dataDir, cacheDir: dataDir, hostNetns: host.path },
      { log: silentLogger, clock: systemClock },
    );
    t.teardown(() => network.close());
    return network;
  }
});
