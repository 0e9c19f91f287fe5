import { execFileSync } from 'node:child_process';
import { mkdir, mkdtemp, rename, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { createFileSource } from '../../../../agent/sources/file.ts';
import type { PodSink } from '../../../../agent/sources/source.ts';
import type { Pod } from '../../../../src/kube/types.ts';
import { systemClock } from '../../../../src/runtime/clock.ts';
import type { Logger } from '../../../../src/runtime/log.ts';
import { until } from '../fake-agent.ts';

const manifest = (name: string, image = 'i:1') =>
  `apiVersion: v1\nkind: Pod\nmetadata: {name: ${name}}\nspec: {containers: [{name: a, image: "${image}"}]}\n`;

/** A source at a path of a new directory, with all that it says. */
async function scene(t: ExecutionContext, options: { path?: string; rescanMs?: number } = {}) {
  const folder = await mkdtemp('/tmp/berth-unit-manifests-');
  const lines: string[] = [];
  const problems: [string, string | undefined][] = [];
  const short = (origin: string) => origin.slice(folder.length + 1);
  const note = (fields: { origin?: string; path?: string }, message: string) =>
    lines.push(`${short(fields.origin ?? fields.path!)}: ${message}`);
  const log = { error: note, info: note, warn: note } as unknown as Logger;
  const sets: Pod[][] = [];
  const sink: PodSink = { set: (pods) => sets.push(pods), upsert() {}, remove() {} };
  const stop = new AbortController();
  const source = createFileSource(
    { path: join(folder, options.path ?? ''), nodeName: 'n', rescanMs: options.rescanMs ?? 30 },
    { clock: systemClock, log, problems: (origin, problem) => problems.push([short(origin), problem]) },
  );
  let running: Promise<void> | undefined;
  t.teardown(async () => {
    stop.abort();
    await running;
    await rm(folder, { recursive: true, force: true });
  });
  return {
    folder,
    lines,
    problems,
    sets,
    write: (name: string, text: string) => writeFile(join(folder, name), text),
    start: () => {
      running = source.run(sink, stop.signal);
    },
    names: () => (sets.at(-1) ?? []).map(({ metadata }) => metadata.name).sort(),
    images: () => (sets.at(-1) ?? []).map(({ spec }) => spec.containers[0]!.image),
    /** Waits for looks that began after now. */
    async looked() {
      const before = sets.length;
      await until('two more looks', () => sets.length >= before + 2);
    },
  };
}

test('everything that is no manifest is named, once, and the others run', async (t) => {
  const { folder, write, start, names, lines, problems, looked } = await scene(t);
  await write('good.yaml', manifest('good'));
  await write('.hidden.yaml', 'nonsense');
  await write('syntax.yaml', 'a: [');
  await write('two.yaml', `${manifest('x')}---\n${manifest('y')}`);
  await write('kind.yaml', 'apiVersion: v1\nkind: Service\n');
  await write('nameless.yaml', manifest('').replace('{name: }', '{}'));
  await write('typo.yaml', manifest('typo').replace('image', 'imgae'));
  await write('empty.yaml', '');
  await write('huge.yaml', '');
  await truncate(join(folder, 'huge.yaml'), 200 << 20);
  await mkdir(join(folder, 'folder.yaml'));
  await symlink('nowhere', join(folder, 'dangling.yaml'));
  await symlink('loop.yaml', join(folder, 'loop.yaml'));
  await writeFile(join(folder, '.target'), manifest('linked'));
  await symlink('.target', join(folder, 'link.yaml'));
  execFileSync('/usr/bin/mkfifo', [join(folder, 'pipe.yaml')]);
  start();
  await looked();
  t.deepEqual(names(), ['good-n', 'linked-n']);
  t.deepEqual(problems.map(([origin]) => origin).sort(), [
    'dangling.yaml',
    'empty.yaml',
    'folder.yaml',
    'huge.yaml',
    'kind.yaml',
    'loop.yaml',
    'nameless.yaml',
    'pipe.yaml',
    'syntax.yaml',
    'two.yaml',
    'typo.yaml',
  ]);
  const of = (name: string) => lines.filter((line) => line.startsWith(`${name}: `));
  t.deepEqual(of('huge.yaml'), ['huge.yaml: static pod manifest ignored: is larger than 10 MiB']);
  t.deepEqual(of('pipe.yaml'), ['pipe.yaml: static pod manifest ignored: is not a file']);
  t.deepEqual(of('folder.yaml'), ['folder.yaml: static pod manifest ignored: is a directory, which is not entered']);
  t.deepEqual(of('dangling.yaml'), ['dangling.yaml: static pod manifest ignored: is gone, or a link to nothing']);
  t.deepEqual(of('nameless.yaml'), ['nameless.yaml: static pod manifest ignored: metadata.name: required']);
  t.regex(of('typo.yaml')[0]!, /ignored: unknown field "spec\.containers\[0\]\.imgae"$/);
  t.is(lines.length, problems.length, 'each problem is told once');
});

test('a manifest that breaks keeps its earlier version running until it is gone', async (t) => {
  const { write, folder, start, names, images, lines, problems, looked, sets } = await scene(t);
  await write('web.yaml', manifest('web', 'i:1'));
  start();
  await until('first', () => names().length === 1);
  const first = sets.at(-1)![0];
  await write('web.yaml', manifest('web', 'i:2').slice(0, -12));
  await until('named', () => problems.length === 1);
  await looked();
  t.is(sets.at(-1)![0], first, 'the very same pod');
  t.regex(lines[0]!, /^web\.yaml: static pod manifest ignored: .*line 4.*\(its earlier version goes on\)$/);
  await write('web.yaml', manifest('web', 'i:2'));
  await until('the new version', () => images()[0] === 'i:2');
  t.deepEqual(problems.at(-1), ['web.yaml', undefined]);
  await write('web.yaml', 'a: [');
  await until('named again', () => problems.length === 3);
  await rm(join(folder, 'web.yaml'));
  await until('gone', () => names().length === 0);
  t.deepEqual(problems.at(-1), ['web.yaml', undefined]);
});

test('two files with one name: what runs stays, the other is named; the name is free when it goes', async (t) => {
  const { write, folder, start, images, problems, looked, names } = await scene(t);
  await write('b.yaml', manifest('web', 'i:b'));
  start();
  await until('first', () => names().length === 1);
  await write('a.yaml', manifest('web', 'i:a'));
  await until('named', () => problems.length === 1);
  await looked();
  t.deepEqual(images(), ['i:b']);
  t.is(problems[0]![0], 'a.yaml');
  t.regex(problems[0]![1]!, /^metadata\.name: .*b\.yaml makes pod default\/web-n already$/);
  await rm(join(folder, 'b.yaml'));
  await until('the other', () => images()[0] === 'i:a');
  t.deepEqual(problems.at(-1), ['a.yaml', undefined]);
});

test('two files with one UID: the second is named', async (t) => {
  const { write, start, names, problems } = await scene(t);
  await write('a.yaml', manifest('a').replace('{name: a}', '{name: a, uid: u}'));
  await write('b.yaml', manifest('b').replace('{name: b}', '{name: b, uid: u}'));
  start();
  await until('a look', () => names().length > 0);
  t.deepEqual(names(), ['a-n']);
  t.regex(problems[0]![1]!, /^metadata\.uid: .*a\.yaml has the same$/);
});

test('changes are noticed long before the next rescan: written, renamed over, removed, a swapped link', async (t) => {
  const { write, folder, start, names, images } = await scene(t, { rescanMs: 3_600_000 });
  start();
  await until('empty', () => names().length === 0);
  await write('web.yaml', manifest('web', 'i:1'));
  await until('added', () => names().length === 1);
  await write('.new', manifest('web', 'i:2'));
  await rename(join(folder, '.new'), join(folder, 'web.yaml'));
  await until('renamed over', () => images()[0] === 'i:2');
  await rm(join(folder, 'web.yaml'));
  await until('removed', () => names().length === 0);
  for (const version of ['1', '2']) {
    await mkdir(join(folder, `..v${version}`));
    await writeFile(join(folder, `..v${version}/web.yaml`), manifest('web', `i:${version}`));
  }
  await symlink('..v1', join(folder, '..data'));
  await symlink('..data/web.yaml', join(folder, 'web.yaml'));
  await until('through links', () => images()[0] === 'i:1');
  await symlink('..v2', join(folder, '..data_tmp'));
  await rename(join(folder, '..data_tmp'), join(folder, '..data'));
  await until('swapped', () => images()[0] === 'i:2');
  t.pass();
});

test('one file: replaced by a rename, again and again', async (t) => {
  const { write, folder, start, images } = await scene(t, { path: 'web.yaml', rescanMs: 3_600_000 });
  await write('web.yaml', manifest('web', 'i:0'));
  await write('other.yaml', manifest('other'));
  start();
  await until('first', () => images()[0] === 'i:0');
  for (const version of [1, 2, 3]) {
    await write('.new', manifest('web', `i:${version}`));
    await rename(join(folder, '.new'), join(folder, 'web.yaml'));
    await until(`version ${version}`, () => images()[0] === `i:${version}`);
  }
  t.deepEqual(images(), ['i:3']);
});

test('a directory that comes late, goes and comes again', async (t) => {
  const { folder, start, names, sets } = await scene(t, { path: 'm/' });
  start();
  await until('an empty set', () => sets.length > 0);
  for (const round of [1, 2]) {
    await mkdir(join(folder, 'm'));
    await writeFile(join(folder, 'm/web.yaml'), manifest('web'));
    await until(`the pod, ${round}`, () => names().length === 1);
    await rm(join(folder, 'm'), { recursive: true });
    await until(`no pod, ${round}`, () => names().length === 0);
  }
  t.pass();
});

test('a path that is neither file nor directory is named once, and ends nothing', async (t) => {
  const { folder, lines, sets, start } = await scene(t, { path: 'pipe' });
  execFileSync('/usr/bin/mkfifo', [join(folder, 'pipe')]);
  start();
  await until('it is named', () => lines.length > 0);
  await new Promise((resolve) => setTimeout(resolve, 150));
  t.deepEqual(lines, ['pipe: static pod manifests could not be read']);
  t.is(sets.length, 0);
});
