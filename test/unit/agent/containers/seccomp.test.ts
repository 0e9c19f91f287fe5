import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { readSeccompProfile } from '../../../../agent/containers/seccomp.ts';

const PROFILE = '{ "defaultAction": "SCMP_ACT_ERRNO" }\n';
let base: string;
let directory: string;

test.before(async () => {
  base = await mkdtemp(join(tmpdir(), 'berth-seccomp-'));
  directory = join(base, 'seccomp');
  await mkdir(join(directory, 'team/folder'), { recursive: true });
  await writeFile(join(directory, 'team/good.json'), PROFILE);
  await writeFile(join(directory, 'empty.json'), ' \n');
  await writeFile(join(directory, 'cut.json'), '{ "defaultAction": ');
  await writeFile(join(directory, 'null.json'), 'null');
  await writeFile(join(directory, 'nothing.json'), '{}');
  await writeFile(join(directory, 'word.json'), '"unconfined"');
  await writeFile(join(directory, 'huge.json'), ' '.repeat((1 << 20) + 1));
  await writeFile(join(base, 'outside.json'), PROFILE);
  await symlink('../outside.json', join(directory, 'out.json'));
  await symlink('team/good.json', join(directory, 'in.json'));
});
test.after.always(() => rm(base, { recursive: true, force: true }));

for (const profile of ['team/good.json', 'in.json'])
  test(`read: ${profile}`, async (t) => {
    t.is(await readSeccompProfile(directory, profile), PROFILE);
  });

for (const [profile, why] of [
  ['none.json', 'no such file or directory'],
  ['empty.json', 'the file is empty'],
  ['cut.json', /not JSON/],
  ['null.json', 'not a seccomp profile: it has no defaultAction'],
  ['nothing.json', 'not a seccomp profile: it has no defaultAction'],
  ['word.json', 'not a seccomp profile: it has no defaultAction'],
  ['huge.json', 'larger than 1048576 bytes'],
  ['team/folder', 'not a regular file'],
  ['.', /link out of|not a regular file/],
  ['out.json', /it is a link out of/],
  ['../outside.json', /without "\.\."/],
  ['/etc/passwd', /must be a path below/],
] as [string, string | RegExp][])
  test(`CVE-2023-2431: ${profile} never runs unconfined`, async (t) => {
    const error = await t.throwsAsync(readSeccompProfile(directory, profile));
    t.is((error as { reason?: string }).reason, 'CreateContainerError');
    t.true(error.message.startsWith(`cannot load seccomp profile "${join(directory, profile)}": `));
    t.regex(error.message, typeof why === 'string' ? new RegExp(why.replaceAll('.', '\\.')) : why);
  });

test('CVE-2023-2431: no seccomp directory at all', async (t) => {
  await t.throwsAsync(readSeccompProfile(join(base, 'absent'), 'p.json'), { message: /no such file or directory/ });
});
