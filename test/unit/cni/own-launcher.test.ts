import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import test from 'ava';
import { LAUNCHER_MARK, locatePlugin } from '../../../cni/wire/own-launcher.ts';

test('ours run in process, also behind a launcher of ours; a program of somebody’s under the name stands above them', (t) => {
  const base = mkdtempSync(join(tmpdir(), 'bin-'));
  t.teardown(() => rmSync(base, { recursive: true }));
  const [first, second] = [join(base, 'first'), join(base, 'second')] as const;
  for (const folder of [first, second]) mkdirSync(folder);
  const path = [first, second, join(base, 'none')];
  const program = (folder: string, type: string, text: string) =>
    writeFileSync(join(folder, type), text, { mode: 0o755 });

  t.is(locatePlugin('bridge', path, true), undefined, 'nothing is installed');
  program(second, 'bridge', `#!/bin/sh\n${LAUNCHER_MARK}\nexec node\n`);
  t.is(locatePlugin('bridge', path, true), undefined, 'our launcher');
  program(first, 'bridge', 'ELF'.padEnd(1000, '\0'));
  t.is(locatePlugin('bridge', path, true), join(first, 'bridge'), 'the first directory counts');
  chmodSync(join(first, 'bridge'), 0o644);
  t.is(locatePlugin('bridge', path, true), undefined, 'no program');
  rmSync(join(first, 'bridge'));
  mkdirSync(join(first, 'bridge'));
  t.is(locatePlugin('bridge', path, true), undefined, 'a folder');

  program(second, 'theirs', '#!/bin/sh\n');
  t.is(locatePlugin('theirs', path, false), join(second, 'theirs'));
  program(second, 'renamed', `#!/bin/sh\n${LAUNCHER_MARK}\n`);
  t.is(locatePlugin('renamed', path, false), join(second, 'renamed'), 'a type that is not ours is a program');
  for (const type of ['nobody', '', '../second/theirs'])
    t.throws(() => locatePlugin(type, path, false), { code: 7, message: /failed to find plugin ".*" in path \[/ });
});

test('a directory is found from where the caller is; a link that leads nowhere is passed over', (t) => {
  const base = mkdtempSync(join(tmpdir(), 'bin-'));
  t.teardown(() => rmSync(base, { recursive: true }));
  const [loop, good] = [join(base, 'loop'), join(base, 'good')];
  for (const folder of [loop, good]) mkdirSync(folder);
  symlinkSync('theirs', join(loop, 'theirs'));
  writeFileSync(join(good, 'theirs'), '#!/bin/sh\n', { mode: 0o755 });
  t.is(locatePlugin('theirs', [loop, relative(process.cwd(), good)], false), join(good, 'theirs'));
});
