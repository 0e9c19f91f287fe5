/** The disk that holds the Engine's data is full: what runs goes on and can be ended, what cannot start says why, and starts when there is room. */
import { mkdir, mkdtemp, open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'ava';
import { run } from '../../../src/linux/exec.ts';
import { unmount } from '../../../src/linux/mounts.ts';
import { createFakePodNetwork } from '../../fakes/pod-network.ts';
import { createTestAgent, eventually, type TestAgent } from '../../support/agent.ts';
import { type PrivateDockerd, startDockerd, whyNoDockerd } from '../../support/dockerd.ts';
import { BUSYBOX_IMAGE, loadTestImages } from '../../support/images.ts';

const obstacle = whyNoDockerd();
const real = obstacle ? test.serial.skip : test.serial;
let disk: string;
let engine: PrivateDockerd;
let node: TestAgent;

if (obstacle) test(`skipped: ${obstacle}`, (t) => t.pass());
else {
  test.before(async () => {
    disk = await mkdtemp('/tmp/berth-small-disk-');
    await run('mount', ['-t', 'tmpfs', '-o', 'size=64m', 'small-disk', disk], { timeoutMs: 5_000 });
    await mkdir(join(disk, 'docker'));
    engine = await startDockerd({ dataRoot: join(disk, 'docker') });
    await loadTestImages(engine.socketPath);
    node = await createTestAgent({
      docker: engine.docker,
      network: createFakePodNetwork(),
      options: { relistMs: 1_000 },
    });
    node.start();
  });
  test.after.always(async () => {
    await rm(join(disk, 'filler'), { force: true });
    await node?.remove();
    await engine?.stop();
    unmount(disk, { lazy: true });
    await rm(disk, { recursive: true, force: true });
  });
}

async function fillDisk(): Promise<void> {
  const file = await open(join(disk, 'filler'), 'w');
  const block = Buffer.alloc(1 << 20);
  try {
    for (let size = block.length; size >= 4096; size /= 2)
      for (;;) {
        try {
          const { bytesWritten } = await file.write(block, 0, size);
          if (bytesWritten < size) break;
        } catch (error) {
          if ((error as NodeJS.ErrnoException).code === 'ENOSPC') break;
          throw error;
        }
      }
  } finally {
    await file.close();
  }
}

function manifest(name: string) {
  const command = ['sh', '-c', 'trap "exit 0" TERM; while :; do sleep 0.05; done'];
  const container = { name: 'app', image: BUSYBOX_IMAGE, imagePullPolicy: 'Never', command };
  const spec = { dnsPolicy: 'Default', terminationGracePeriodSeconds: 1, containers: [container] };
  return { apiVersion: 'v1', kind: 'Pod', metadata: { name }, spec };
}

const isRunning = (name: string) => node.pod(name)?.status?.phase === 'Running';

real(
  'a full disk: named in the events, nothing piles up, pods end, and the next ones start when there is room',
  async (t) => {
    await node.apply(manifest('early'));
    await node.apply(manifest('leaving'));
    await eventually('both run', () => isRunning('early') && isRunning('leaving'));
    const [early] = node.runtime('early')!.containers;
    await fillDisk();
    await node.apply(manifest('late'));
    const told = await eventually('the reason is told', () =>
      node.events.find(({ pod, message }) => pod === 'late-node-1' && /no space left on device/.test(message)),
    );
    t.true(['FailedCreatePodSandBox', 'Failed'].includes(told.reason), told.reason);
    await node.unapply('leaving');
    await eventually('a pod can be ended', () => !node.pod('leaving'));
    t.is(node.runtime('early')!.containers[0]!.id, early!.id);
    t.is(node.pod('late')!.status!.phase, 'Pending');
    await fillDisk();
    await new Promise((resolve) => setTimeout(resolve, 3_000));
    const names = (await engine.docker.listContainers({})).map(({ name }) => name);
    t.true(names.filter((name) => name.includes('_late-')).length <= 2, names.join(' '));
    await rm(join(disk, 'filler'));
    await eventually('it starts', () => isRunning('late'));
    t.is(node.runtime('early')!.containers[0]!.id, early!.id);
    t.is(node.runtime('early')!.containers[0]!.restartCount, 0);
  },
);
