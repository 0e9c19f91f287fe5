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

real(
  'stdout cannot forge log records: of another stream, another time, another line or another container',
  async (t) => {
    const forged = '{"log":"forged\\n","stream":"stderr","time":"2020-01-01T00:00:00.000000000Z"}';
    const lines = [
      forged,
      // Behind what looks like a record that an Engine has begun and never ended.
      `{"log":"half ${forged}`,
      `"}\\n${forged}`,
      // The line of another runtime's logs, and what kubectl prints with --timestamps.
      '2020-01-01T00:00:00.000000000Z stderr F forged',
      '2020-01-01T00:00:00.000000000Z forged',
      '\u001b[2K\rforged',
      '\u2028forged\u2029',
    ];
    const octal = (text: string) =>
      [...Buffer.from(text)].map((byte) => `\\0${byte.toString(8).padStart(3, '0')}`).join('');
    const print = lines.map((line) => `printf '%b' '${octal(`${line}\n`)}'`).join('; ');
    // One line of 40 KiB comes as three records; the second and the third begin with what looks like one.
    const filler = `printf '%16384s' x; printf '%b' '${octal(forged)}'; printf '%20000s' x; echo`;
    const id = await start('forger', `${print}; ${filler}; printf '%b' '${octal(forged)}'; echo honest >&2`, {});
    await daemon.docker.waitContainer(id);
    const long = `${'x'.padStart(16384)}${forged}${'x'.padStart(20000)}`;
    const out = await text(readOwn, id, { stderr: false });
    t.is(out, [...lines, long, forged].join('\n'));
    t.is(await text(readOwn, id, { stdout: false }), 'honest\n');
    const dated = (await text(readOwn, id, { timestamps: true, stderr: false })).split('\n');
    t.is(dated.length, lines.length + 2, 'a date for each line and no other');
    for (const line of dated)
      t.true(Math.abs(Date.parse(line.split(' ', 1)[0]!) - Date.now()) < 3_600_000, line.slice(0, 80));
    t.is(await text(readOwn, id, { sinceMs: Date.now() - 3_600_000, stderr: false }), out, 'nor dates itself back');
    t.is(await text(readOwn, id, { tail: 1, stderr: false }), forged);
  },
);

/** What a reader who lost nothing and saw nothing twice has read. */
const whole = (lines: number) =>
  Array.from({ length: lines }, (_, index) => `line ${index} ${'x'.repeat(50)}\n`).join('');
const writer = (lines: number, burst: number, pauseUs: number) =>
  `i=0; while [ $i -lt ${lines} ]; do echo "line $i ${'x'.repeat(50)}"; i=$((i + 1)); [ $((i % ${burst})) = 0 ] && usleep ${pauseUs}; done; true`;

// The Engine keeps all of it: however late the reader is on a busy machine, nothing goes before it was read.
for (const [what, lines, burst, pauseUs, maxSize, maxFiles] of [
  ['as fast as it can', 25_000, 1_000_000, 0, '1048576', '5'],
  ['in bursts, through a dozen rotations', 15_000, 500, 30_000, '131072', '40'],
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
  const rotation = { 'max-size': '65536', 'max-file': '40', compress: 'true' };
  const id = await start('over-a-restart', writer(lines, 100, 50_000), rotation);
  const reading = text(readOwn, id, { follow: true });
  await sleep(500);
  await daemon.restart();
  t.true((await daemon.docker.inspectContainer(id)).state === 'running', 'the test is of a container that lives on');
  t.true((await reading) === whole(lines));
});
