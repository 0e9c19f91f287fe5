/**
 * A process that takes no SIGKILL, for real: it writes to a file system that is frozen, as one writes to a volume whose server is gone.
 * Its pod says what it waits for and is not called ended; no other pod notices; when the kernel lets go, all goes.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'ava';
import { connectDocker } from '../../../src/docker/connect.ts';
import type { DockerEngine } from '../../../src/docker/engine.ts';
import { run } from '../../../src/linux/exec.ts';
import { createFakePodNetwork } from '../../fakes/pod-network.ts';
import { createTestAgent, eventually, type TestAgent } from '../../support/agent.ts';
import { type PrivateDockerd, startDockerd, whyNoDockerd } from '../../support/dockerd.ts';
import { BUSYBOX_IMAGE, loadTestImages } from '../../support/images.ts';

const TIMEOUT = { timeoutMs: 20_000 };
let folder: string | undefined;
let disk: string;
let isFrozen = false;
const obstacle = whyNoDockerd() ?? (await whyNoDisk());
const real = obstacle ? test.serial.skip : test.serial;
let engine: PrivateDockerd;
let docker: DockerEngine;
let node: TestAgent;

/** Mounts a small disk of its own; tells why it cannot. */
async function whyNoDisk(): Promise<string | undefined> {
  folder = await mkdtemp('/tmp/berth-frozen-');
  disk = join(folder, 'disk');
  try {
    await run('truncate', ['--size=8M', join(folder, 'image')], TIMEOUT);
    await run('mkfs.ext4', ['-q', '-F', join(folder, 'image')], TIMEOUT);
    await run('mkdir', [disk], TIMEOUT);
    await run('mount', ['-o', 'loop', join(folder, 'image'), disk], TIMEOUT);
    return undefined;
  } catch (error) {
    await rm(folder, { recursive: true, force: true });
    folder = undefined;
    return `no disk to freeze (${(error as Error).message.split('\n')[0]})`;
  }
}

async function thaw(): Promise<void> {
  if (isFrozen) await run('fsfreeze', ['--unfreeze', disk], TIMEOUT);
  isFrozen = false;
}

if (obstacle) test.skip(`unkillable processes: ${obstacle}`, (t) => t.pass());
else {
  test.before(async () => {
    engine = await startDockerd();
    await loadTestImages(engine.socketPath);
    docker = connectDocker(engine.endpoint, { requestTimeoutMs: 3_000, inspectTimeoutMs: 1_000 });
    node = await createTestAgent({ docker, network: createFakePodNetwork(), options: { relistMs: 1_000 } });
    node.start();
  });
  test.after.always(async () => {
    await thaw();
    await node?.remove();
    docker?.close();
    await engine?.stop();
    if (!folder) return;
    await run('umount', [disk], TIMEOUT);
    await rm(folder, { recursive: true, force: true });
  });
}

function manifest(name: string, script: string) {
  const volumeMounts = [{ name: 'disk', mountPath: '/disk' }];
  const command = ['sh', '-c', script];
  const container = { name: 'app', image: BUSYBOX_IMAGE, imagePullPolicy: 'Never', command, volumeMounts };
  const volumes = [{ name: 'disk', hostPath: { path: disk } }];
  const spec = { dnsPolicy: 'Default', terminationGracePeriodSeconds: 1, containers: [container], volumes };
  return { apiVersion: 'v1', kind: 'Pod', metadata: { name }, spec };
}

const isRunning = (name: string) => node.pod(name)?.status?.phase === 'Running';

real(
  'R1, R4: a process that takes no SIGKILL: its pod says where it waits, the others go on, and it ends when the kernel lets go',
  async (t) => {
    await node.apply(manifest('stuck', 'while [ ! -e /tmp/go ]; do sleep 0.1; done; echo x >/disk/file; sleep 1000'));
    await eventually('it runs', () => isRunning('stuck'));
    const { id } = node.runtime('stuck')!.containers[0]!;
    await run('fsfreeze', ['--freeze', disk], TIMEOUT);
    isFrozen = true;
    await docker.execInContainer(id, ['touch', '/tmp/go']);
    await node.unapply('stuck');
    const told = await eventually('it says so', () =>
      node.events.find(({ pod, reason }) => pod === 'stuck-node-1' && reason === 'FailedKillPod'),
    );
    t.regex(
      told.message,
      /^error killing pod: .*process \d+ \(sh\), which waits in the kernel( \(\w+\))? of container app survives SIGKILL/,
    );
    t.truthy(node.pod('stuck'), 'its memory and its mounts are still in use');
    const late = manifest('late', 'trap "exit 0" TERM; while :; do sleep 0.05; done');
    late.spec.volumes = [];
    late.spec.containers[0]!.volumeMounts = [];
    await node.apply(late);
    await eventually('another pod starts', () => isRunning('late'));
    await node.unapply('late');
    await eventually('and ends', () => !node.pod('late'));
    await thaw();
    await eventually('it ends', () => !node.pod('stuck'));
    await eventually('nothing is left', async () => (await docker.listContainers({})).length === 0);
  },
);
