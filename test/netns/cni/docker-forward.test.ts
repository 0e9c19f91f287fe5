/** A distribution's Docker with its own bridge and rules on the same host: it sets FORWARD to DROP, and pods work all the same. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { createPodNetwork } from '../../../cni/invoke/pod-network.ts';
import { createNodeNetwork } from '../../../cni/node/node-network.ts';
import { connectDocker } from '../../../src/docker/connect.ts';
import { hasProgram } from '../../../src/linux/exec.ts';
import { readMounts, unmount } from '../../../src/linux/mounts.ts';
import { systemClock } from '../../../src/runtime/clock.ts';
import { silentLogger } from '../../../src/runtime/log.ts';
import { eventually } from '../../support/eventually.ts';
import { diffSnapshots, snapshotHost } from '../../support/host-snapshot.ts';
import { createTestNetns, type TestNetns } from '../../support/netns.ts';

const testWithDocker = hasProgram('dockerd') ? test : test.skip;

/** Runs a dockerd with everything on that Berth's own has off, until the test ends. Answers when its rules are written. */
async function startDockerWithRules(t: ExecutionContext, host: TestNetns, directory: string): Promise<void> {
  const socket = `unix://${join(directory, 'docker.sock')}`;
  const args = [
    ...['--data-root', join(directory, 'data'), '--exec-root', join(directory, 'exec'), '--host', socket],
    ...[
      '--pidfile',
      join(directory, 'pid'),
      '--bip',
      '172.31.7.1/24',
      '--iptables=true',
      '--shutdown-timeout',
      '1',
      '--storage-driver',
      'vfs',
    ],
  ];
  let ended: unknown;
  const running = host.run('dockerd', args, { timeoutMs: 120_000 }).catch((error) => {
    ended = error;
  });
  // Gracefully: killed, it would leave its mounts.
  t.teardown(async () => {
    if (!ended) process.kill(Number(readFileSync(join(directory, 'pid'), 'utf8')), 'SIGTERM');
    await running;
  });
  const docker = connectDocker(socket);
  await eventually('dockerd answers', async () => {
    if (ended) throw ended;
    return (await docker.version().catch(() => undefined)) !== undefined;
  });
}

async function setUp(t: ExecutionContext) {
  const host = await createTestNetns(t, 'docker');
  const directory = mkdtempSync(join(tmpdir(), 'net-docker-'));
  t.teardown(() => {
    // dockerd leaves its data root mounted on itself where that lies on a shared mount.
    for (const { target } of readMounts().toReversed())
      if (target.startsWith(`${directory}/`)) unmount(target, { lazy: true });
    rmSync(directory, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
  });
  const deps = { log: silentLogger, clock: systemClock };
  const node = createNodeNetwork(
    {
      clusterCidrs: ['10.244.0.0/16'],
      serviceCidrs: ['10.96.0.0/12'],
      stateFile: join(directory, 'state.json'),
      hostNetns: host.path,
    },
    deps,
  );
  const pods = createPodNetwork(
    { podCidrs: () => ['10.244.1.0/24'], dataDir: directory, cacheDir: directory, hostNetns: host.path },
    deps,
  );
  t.teardown(() => pods.close());
  const addPod = async (name: string) => {
    const pod = await createTestNetns(t, name);
    const sandbox = { sandboxId: name, netnsPath: pod.path, namespace: 'ns', name, uid: name, hostPorts: [] };
    return { ...pod, address: (await pods.attach(sandbox, new AbortController().signal)).ips[0]! };
  };
  return { host, node, directory, addPod };
}

const ping = (from: TestNetns, to: string, seconds = 2) => from.run('busybox', ['ping', '-c1', `-W${seconds}`, to]);

testWithDocker('Docker first: its DROP does not cut pods, and its own rules survive ours', async (t) => {
  const { host, node, directory, addPod } = await setUp(t);
  await startDockerWithRules(t, host, directory);
  t.regex(await host.run('iptables-save', ['-t', 'filter']), /^:FORWARD DROP/m);
  const before = await snapshotHost({ netns: host.path });
  await node.ensure();
  const [one, two] = [await addPod('one'), await addPod('two')];
  await t.notThrowsAsync(ping(one, two.address, 20));
  await node.remove();
  t.deepEqual(diffSnapshots(before, await snapshotHost({ netns: host.path })), []);
});

testWithDocker('Docker second: it comes while pods run', async (t) => {
  const { host, node, directory, addPod } = await setUp(t);
  await node.ensure();
  const [one, two] = [await addPod('one'), await addPod('two')];
  await startDockerWithRules(t, host, directory);
  await t.notThrowsAsync(ping(one, two.address, 20));
  t.deepEqual(await node.ensure(), [], 'its rules before ours are no reason to write');
  await t.notThrowsAsync(ping(two, one.address, 20));
});
