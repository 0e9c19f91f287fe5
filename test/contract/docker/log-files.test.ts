/** The log files of a real Engine, read by ourselves: the same as it says, and nothing lost where it loses lines. */
import { readdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import type { DockerEngine, LogOptions } from '../../../src/docker/engine.ts';
import { createContainerLogs } from '../../../src/docker/log-files/container-logs.ts';
import { systemClock } from '../../../src/runtime/clock.ts';
import { silentLogger } from '../../../src/runtime/log.ts';
import { type PrivateDockerd, startDockerd, whyNoDockerd } from '../../support/dockerd.ts';
import { BUSYBOX_IMAGE, loadTestImages } from '../../support/images.ts';

const obstacle = whyNoDockerd();
const real = obstacle ? test.serial.skip : test.serial;
let daemon: PrivateDockerd;
let readOwn: DockerEngine['containerLogs'];

if (obstacle) test(`skipped: ${obstacle}`, (t) => t.pass());
else {
  test.before(async () => {
    daemon = await startDockerd();
    await loadTestImages(daemon.socketPath);
    readOwn = createContainerLogs({ docker: daemon.docker, clock: systemClock, log: silentLogger });
  });
  test.after.always(() => daemon?.stop());
}

async function start(name: string, script: string, rotation: Record<string, string>): Promise<string> {
  const { id } = await daemon.docker.createContainer(name, {
    Image: BUSYBOX_IMAGE,
    Entrypoint: ['sh', '-c', script],
    HostConfig: { NetworkMode: 'none', LogConfig: { Type: 'json-file', Config: rotation } },
  });
  await daemon.docker.startContainer(id);
  return id;
}

async function text(read: DockerEngine['containerLogs'], id: string, options: LogOptions): Promise<string> {
  let all = '';
  for await (const { data } of read(id, options, AbortSignal.timeout(60_000))) all += data;
  return all;
}

real('a rotated log reads as the Engine reads it', async (t) => {
  const script = 'for i in $(seq 2000); do echo "out $i"; [ $((i % 5)) = 0 ] && echo "err $i" >&2; done; true';
  const id = await start('as-the-engine', script, { 'max-size': '32768', 'max-file': '4', compress: 'true' });
  await daemon.docker.waitContainer(id);
  // The Engine compresses behind the container's back, and reads badly meanwhile.
  const { logPath } = await daemon.docker.inspectContainer(id);
  while (readdirSync(dirname(logPath)).some((name) => /\.\d+$/.test(name))) await sleep(50);
  const variants: LogOptions[] = [{}, { tail: 3 }, { tail: 700 }, { timestamps: true }, { stderr: false }];
  for (const options of variants)
    t.is(
      await text(readOwn, id, options),
      await text(daemon.docker.containerLogs, id, options),
      JSON.stringify(options),
    );
  // Not so with a time: the Engine passes over files that the kernel has dated some milliseconds back.
  const lines = (await text(readOwn, id, { timestamps: true })).split('\n').slice(0, -1);
  const timeOf = (line: string) => Date.parse(line.split(' ', 1)[0]!);
  for (const line of lines.filter((_, index) => index % 200 === 0)) {
    const sinceMs = timeOf(line);
    const younger = lines.filter((one) => timeOf(one) >= sinceMs).map((one) => `${one}\n`);
    t.true((await text(readOwn, id, { sinceMs, timestamps: true })) === younger.join(''), line);
  }
});

/** What a reader who lost nothing and saw nothing twice has read. */
const whole = (lines: number) =>
  Array.from({ length: lines }, (_, index) => `line ${index} ${'x'.repeat(50)}\n`).join('');
const writer = (lines: number, burst: number, pauseUs: number) =>
  `i=0; while [ $i -lt ${lines} ]; do echo "line $i ${'x'.repeat(50)}"; i=$((i + 1)); [ $((i % ${burst})) = 0 ] && usleep ${pauseUs}; done; true`;

for (const [what, lines, burst, pauseUs, maxSize, maxFiles] of [
  ['as fast as it can', 25_000, 1_000_000, 0, '1048576', '5'],
  ['in bursts, through a dozen rotations', 15_000, 500, 30_000, '131072', '4'],
] as const)
  real(`following a container that writes ${what} loses no line and repeats none`, async (t) => {
    const id = await start(`follow-${burst}`, writer(lines, burst, pauseUs), {
      'max-size': maxSize,
      'max-file': maxFiles,
      compress: 'true',
    });
    t.true((await text(readOwn, id, { follow: true })) === whole(lines));
  });

real('following goes on over a restart of the Engine, which the container outlives', async (t) => {
  const lines = 6_000;
  const rotation = { 'max-size': '65536', 'max-file': '5', compress: 'true' };
  const id = await start('over-a-restart', writer(lines, 100, 50_000), rotation);
  const reading = text(readOwn, id, { follow: true });
  await sleep(500);
  await daemon.restart();
  t.true((await daemon.docker.inspectContainer(id)).state === 'running', 'the test is of a container that lives on');
  t.true((await reading) === whole(lines));
});
