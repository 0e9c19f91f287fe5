import { once } from 'node:events';
import { mkdir, mkdtemp, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import test from 'ava';
import { createHostPathPlugin, ensureHostPath } from '../../../../agent/volumes/host-path.ts';
import { createPathResponse } from '../../../../agent/volumes/path-response.ts';
import { run } from '../../../../src/linux/exec.ts';
import { createFakeClock } from '../../../fakes/clock.ts';
import { podOf } from '../pod.ts';

/** One path of each sort. */
const base = await mkdtemp('/tmp/berth-unit-host-path-');
const server = createServer();
const at = (name: string) => join(base, name);

test.before(async () => {
  await mkdir(at('directory'));
  await writeFile(at('file'), '');
  await symlink('directory', at('link'));
  await run('mkfifo', [at('fifo')]);
  server.listen(at('socket'));
  await once(server, 'listening');
});
test.after.always(async () => {
  server.close();
  await rm(base, { recursive: true });
});

const NOT = {
  Directory: 'a directory',
  DirectoryOrCreate: 'a directory',
  File: 'a file',
  FileOrCreate: 'a file',
  Socket: 'a socket file',
  CharDevice: 'a character device',
  BlockDevice: 'a block device',
} as const;

const FITTING: Record<string, string[]> = {
  directory: ['Directory', 'DirectoryOrCreate'],
  link: ['Directory', 'DirectoryOrCreate'],
  file: ['File', 'FileOrCreate'],
  fifo: [],
  socket: ['Socket'],
};

for (const [name, fitting] of Object.entries(FITTING))
  for (const [type, what] of Object.entries(NOT))
    test(`a ${name} as ${type}`, async (t) => {
      if (fitting.includes(type)) return t.notThrowsAsync(ensureHostPath(at(name), type));
      return t.throwsAsync(ensureHostPath(at(name), type), {
        message: `hostPath type check failed: ${at(name)} is not ${what}`,
      });
    });

test('a character device', async (t) => {
  await t.notThrowsAsync(ensureHostPath('/dev/null', 'CharDevice'));
  await t.throwsAsync(ensureHostPath('/dev/null', 'BlockDevice'), { message: /is not a block device/ });
});

for (const type of ['Directory', 'File', 'Socket', 'CharDevice', 'BlockDevice'] as const)
  test(`nothing as ${type}`, async (t) => {
    await t.throwsAsync(ensureHostPath(at('none'), type), {
      message: `hostPath type check failed: ${at('none')} is not ${NOT[type]}`,
    });
  });

test('OrCreate types and none make what is missing', async (t) => {
  await ensureHostPath(at('new/deep'), 'DirectoryOrCreate');
  await ensureHostPath(at('new/file'), 'FileOrCreate');
  await ensureHostPath(at('plain'), '');
  t.is((await stat(at('new/deep'))).mode & 0o777, 0o755);
  t.is((await stat(at('new/file'))).mode & 0o777, 0o644);
  t.true((await stat(at('new/file'))).isFile());
  t.true((await stat(at('plain'))).isDirectory());
  await t.throwsAsync(ensureHostPath(at('no/parent'), 'FileOrCreate'), { code: 'ENOENT' });
  await t.notThrowsAsync(ensureHostPath(at('fifo'), undefined), 'without a type nothing is looked at');
});

test('refused by name', async (t) => {
  await t.throwsAsync(ensureHostPath(at('file'), 'Fifo'), { message: 'Fifo is an invalid volume type' });
  const plugin = createHostPathPlugin(createPathResponse(createFakeClock()));
  const setUp = (path: string) =>
    plugin.setUp({ pod: podOf(), volume: { name: 'v', hostPath: { path } }, directory: () => '' });
  await t.throwsAsync(setUp('/a/../b'), { message: "invalid HostPath `/a/../b`: must not contain '..'" });
});

test('R4: a path whose server is gone is given up, and never looked at twice at a time', async (t) => {
  const clock = createFakeClock();
  const looks: PromiseWithResolvers<unknown>[] = [];
  const responses = createPathResponse(clock, () => {
    looks.push(Promise.withResolvers());
    return looks.at(-1)!.promise;
  });
  for (let attempt = 0; attempt < 3; attempt++) {
    const failed = t.throwsAsync(responses.respond('/dead'), { message: '/dead does not answer' });
    await clock.advance(10_000);
    await failed;
  }
  t.is(looks.length, 1);
  const other = responses.respond('/other');
  looks[1]!.resolve(undefined);
  await other;
  looks[0]!.reject(new Error('stale'));
  await clock.advance(0);
  const again = responses.respond('/dead');
  t.is(looks.length, 3, 'it answered, so it is asked anew');
  looks[2]!.reject(new Error('no such file'));
  await t.notThrowsAsync(again, 'an error is an answer');
  t.is(clock.pending(), 0);
});
