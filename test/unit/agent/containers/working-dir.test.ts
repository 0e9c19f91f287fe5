import test from 'ava';
import { checkWorkingDir } from '../../../../agent/containers/working-dir.ts';

for (const path of [
  '/proc/self/fd/8',
  '/proc/1/fd/7',
  '//proc/./self/fd',
  '/proc/thread-self/fd/3',
  '/proc/self/task/12/fd/3',
  '/proc/self/cwd',
  '/proc/1/root/etc',
  '/dev/fd/8',
  'proc/self/fd/8',
  '/tmp/../proc/self/fd/8',
]) {
  test(`CVE-2024-21626: ${path} is refused`, (t) => {
    const error = t.throws(() => checkWorkingDir(path, '/'), { message: /is refused/ });
    t.is((error as { reason?: string }).reason, 'CreateContainerConfigError');
  });
  test(`CVE-2024-21626: ${path} of the image is refused`, (t) => {
    t.throws(() => checkWorkingDir(undefined, path), { message: /of the image is refused/ });
  });
}

test('others are taken; the image’s where the container has none', (t) => {
  t.is(checkWorkingDir('/proc', ''), '/proc');
  t.is(checkWorkingDir('/srv/fd/1', ''), '/srv/fd/1');
  t.is(checkWorkingDir(undefined, '/srv'), undefined);
  t.is(checkWorkingDir('/ours', '/proc/self/fd/8'), '/ours');
});
