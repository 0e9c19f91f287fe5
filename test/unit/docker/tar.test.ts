import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { firstTarEntry } from '../../../src/docker/tar.ts';

const base = mkdtempSync(join(tmpdir(), 'berth-tar-'));
const LONG = `/${'d'.repeat(150)}/passwd`;
writeFileSync(join(base, 'file'), 'x'.repeat(1000));
writeFileSync(join(base, 'empty'), '');
symlinkSync('../usr/passwd', join(base, 'link'));
symlinkSync(LONG, join(base, 'far'));
mkdirSync(join(base, 'folder'));
test.after.always(() => rmSync(base, { recursive: true }));

const archive = (name: string, format: string) =>
  execFileSync('tar', [`--format=${format}`, '-C', base, '-cf', '-', '--no-recursion', name]);

for (const format of ['ustar', 'pax']) {
  test(`${format}: files, links, folders`, (t) => {
    t.deepEqual(firstTarEntry(archive('file', format)), { type: 'file', data: Buffer.from('x'.repeat(1000)) });
    t.deepEqual(firstTarEntry(archive('empty', format)), { type: 'file', data: Buffer.alloc(0) });
    t.deepEqual(firstTarEntry(archive('link', format)), { type: 'link', target: '../usr/passwd' });
    t.deepEqual(firstTarEntry(archive('folder', format)), { type: 'other' });
  });
}

test('a link longer than its field comes in an extended header', (t) => {
  t.deepEqual(firstTarEntry(archive('far', 'pax')), { type: 'link', target: LONG });
});

test('nothing', (t) => {
  t.is(firstTarEntry(Buffer.alloc(1024)), undefined);
  t.is(firstTarEntry(Buffer.alloc(0)), undefined);
});
