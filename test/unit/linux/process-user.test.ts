import test from 'ava';
import { parseProcessUser, readProcessUser } from '../../../src/linux/process-user.ts';

test('uid, gid and groups of a process, in its status file', (t) => {
  const status =
    'Name:\tsh\nUid:\t1000\t1000\t1000\t1000\nGid:\t1001\t1001\t1001\t1001\nGroups:\t2000 10 2000 \nThreads:\t1\n';
  t.deepEqual(parseProcessUser(status), { uid: 1000, gid: 1001, supplementalGroups: [10, 2000] });
  t.deepEqual(parseProcessUser('Uid:\t0\t0\t0\t0\nGid:\t0\t0\t0\t0\nGroups:\t \n')?.supplementalGroups, []);
  t.is(parseProcessUser(''), undefined);
});

test('this very process; a pid that is somebody else by now is nobody', async (t) => {
  const self = await readProcessUser(process.pid, '');
  t.like(self, { uid: process.getuid!(), gid: process.getgid!() });
  t.is(await readProcessUser(process.pid, 'another-container'), undefined);
  t.is(await readProcessUser(2 ** 22 + 1, ''), undefined);
});
