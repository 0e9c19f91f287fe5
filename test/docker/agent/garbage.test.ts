/** Garbage of a real Engine on a small disk of its own: images, ended containers, logs. */
import { readdirSync, readlinkSync, statSync } from 'node:fs';
import { mkdir, mkdtemp, rm, statfs } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import test from 'ava';
import { createImageCollector } from '../../../agent/gc/image-collector.ts';
import { run } from '../../../src/linux/exec.ts';
import { unmount } from '../../../src/linux/mounts.ts';
import { systemClock } from '../../../src/runtime/clock.ts';
import { silentLogger } from '../../../src/runtime/log.ts';
import { Registry } from '../../../src/runtime/metrics.ts';
import { createFakePodNetwork } from '../../fakes/pod-network.ts';
import { createTestAgent, eventually, type TestAgent } from '../../support/agent.ts';
import { deriveImage, tagImage } from '../../support/derive-image.ts';
import { type PrivateDockerd, startDockerd, whyNoDockerd } from '../../support/dockerd.ts';
import { BUSYBOX_IMAGE, loadTestImages, PAUSE_IMAGE } from '../../support/images.ts';

const obstacle = whyNoDockerd();
const real = obstacle ? test.serial.skip : test.serial;
const signal = new AbortController().signal;
let disk: string;
let engine: PrivateDockerd;
let node: TestAgent;

if (obstacle) test(`skipped: ${obstacle}`, (t) => t.pass());
else {
  test.before(async () => {
    disk = await mkdtemp('/tmp/berth-small-disk-');
    await run('mount', ['-t', 'tmpfs', '-o', 'size=128m', 'small-disk', disk], { timeoutMs: 5_000 });
    await mkdir(join(disk, 'docker'));
    engine = await startDockerd({ dataRoot: join(disk, 'docker') });
    await loadTestImages(engine.socketPath);
    node = await createTestAgent({
      docker: engine.docker,
      network: createFakePodNetwork(),
      options: { relistMs: 1_000, containerLogMaxSizeBytes: 16_384, containerLogMaxFiles: 3 },
    });
    node.start();
  });
  test.after.always(async () => {
    await node?.remove();
    await engine?.stop();
    unmount(disk, { lazy: true });
    await rm(disk, { recursive: true, force: true });
  });
}

function manifest(name: string, script: string, spec: object = {}) {
  const container = { name: 'app', image: BUSYBOX_IMAGE, imagePullPolicy: 'Never', command: ['sh', '-c', script] };
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name },
    spec: { dnsPolicy: 'Default', terminationGracePeriodSeconds: 1, containers: [container], ...spec },
  };
}

async function space() {
  const { bsize, blocks, bavail } = await statfs(disk);
  return { capacityBytes: bsize * blocks, availableBytes: bsize * bavail };
}

const tags = async () => (await engine.docker.listImages()).flatMap(({ repoTags }) => repoTags);

real(
  'images go when their disk is over the threshold, by all their names, until there is room; what is used stays',
  async (t) => {
    const { docker, socketPath } = engine;
    for (let index = 0; index < 5; index++)
      await deriveImage(engine, {
        name: `berth/big-${index}:1`,
        from: BUSYBOX_IMAGE,
        script: 'head -c 16777216 /dev/urandom >/tmp/data',
      });
    await tagImage(socketPath, 'berth/big-0:1', 'berth/alias:1');
    const { id } = await docker.createContainer('uses-big-1', {
      Image: 'berth/big-1:1',
      HostConfig: { NetworkMode: 'none' },
    });
    const events: string[] = [];
    const images = createImageCollector(
      { highThresholdPercent: 60, lowThresholdPercent: 40, minimumAgeMs: 0, maximumAgeMs: 0 },
      PAUSE_IMAGE,
      {
        docker,
        imageSpace: space,
        // The base of all of them is the other tests'.
        mayRemove: async (image) => image !== (await docker.inspectImage(BUSYBOX_IMAGE)).id,
        imageParts: { recover: async () => {} },
        nodeEvent: (_, reason) => events.push(reason),
        registry: new Registry(),
        clock: systemClock,
        log: silentLogger,
      },
    );
    const before = await space();
    t.true(before.availableBytes / before.capacityBytes < 0.4, 'the test fills the disk beyond the threshold');
    await images.collect(signal);
    const after = await space();
    t.true(after.availableBytes / after.capacityBytes >= 0.6, JSON.stringify(after));
    const left = await tags();
    t.true(left.includes('berth/big-1:1') && left.includes(PAUSE_IMAGE), left.join(' '));
    t.true(
      left.some((name) => /big-[0234]/.test(name)),
      'no more than was asked for',
    );
    await images.removeUnused(signal);
    t.deepEqual((await tags()).sort(), [BUSYBOX_IMAGE, 'berth/big-1:1', PAUSE_IMAGE].sort());
    await docker.removeContainer(id);
    await images.removeUnused(signal);
    t.deepEqual((await tags()).sort(), [BUSYBOX_IMAGE, PAUSE_IMAGE].sort());
    t.deepEqual(events, []);
  },
);

real('a finished pod keeps its container until room is needed; its log and link go with it', async (t) => {
  await node.apply(manifest('job', 'echo done', { restartPolicy: 'Never' }));
  await eventually('it is over', () => node.pod('job')?.status?.phase === 'Succeeded');
  const [container] = node.runtime('job')!.containers;
  const attempt = container!.logPath!;
  t.true(statSync(attempt).size > 0, 'the link leads to the log');
  await eventually('the worker is done', () => node.agent.workers.list().every(({ state }) => state === 'finished'));
  await node.agent.reclaim.deleteDeadContainers(signal);
  t.deepEqual(node.runtime('job')!.containers, []);
  t.deepEqual(await engine.docker.listContainers({}), []);
  await eventually('its link is gone', () => readdirSync(dirname(attempt)).length === 0);
  t.is(node.pod('job')!.status!.phase, 'Succeeded');
  await node.unapply('job');
  await eventually('its directory is gone', () => !readdirSync(node.podLogsDir).some((name) => name.includes('_job-')));
});

real('a container that never stops writing holds three files of log, two of them compressed', async (t) => {
  await node.apply(
    manifest(
      'talker',
      'i=0; while :; do echo "line $i of many"; i=$((i + 1)); [ $((i % 500)) = 0 ] && usleep 20000; done',
    ),
  );
  await eventually('it runs', () => node.pod('talker')?.status?.phase === 'Running');
  const engineLog = readlinkSync(node.runtime('talker')!.containers[0]!.logPath!);
  const files = () =>
    readdirSync(dirname(engineLog))
      .filter((name) => name.includes('-json.log'))
      .sort();
  const name = (age: string) => `${engineLog.split('/').pop()}${age}`;
  // In the middle of a rotation one of them is away.
  await eventually('all three are there', () => files().join() === [name(''), name('.1.gz'), name('.2.gz')].join());
  await new Promise((resolve) => setTimeout(resolve, 1_000));
  const bytes = files().reduce(
    (sum, file) => sum + (statSync(join(dirname(engineLog), file), { throwIfNoEntry: false })?.size ?? 0),
    0,
  );
  t.true(bytes < 4 * 16_384, `${bytes} bytes`);
  await node.unapply('talker');
  await eventually('it is gone', () => !node.pod('talker'));
});
