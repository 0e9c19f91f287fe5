import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'ava';
import { findProcessesOfCgroup } from '../../../src/linux/processes.ts';

const ID = 'a'.repeat(64);

test('the processes of a container, by /proc: zombies do not live, unless a thread of theirs does', async (t) => {
  const proc = await mkdtemp('/tmp/berth-unit-proc-');
  t.teardown(() => rm(proc, { recursive: true }));
  const add = async (pid: string, cgroup: string, state: string, threads: Record<string, string> = {}) => {
    const directory = join(proc, pid);
    await mkdir(directory);
    await writeFile(join(directory, 'cgroup'), cgroup);
    await writeFile(join(directory, 'stat'), `${pid} (a (b) c) ${state} 1 1`);
    await writeFile(join(directory, 'wchan'), state === 'D' ? 'nfs_wait' : '0');
    for (const [tid, one] of Object.entries(threads)) {
      await mkdir(join(directory, 'task', tid), { recursive: true });
      await writeFile(join(directory, 'task', tid, 'stat'), `${tid} (t) ${one} 1`);
    }
  };
  await add('10', `4:memory:/kubepods/pod1/${ID}\n0::/`, 'S');
  await add('11', `0::/kubepods.slice/docker-${ID}.scope`, 'D');
  await add('12', `4:memory:/kubepods/pod1/${ID}`, 'Z', { 12: 'Z' });
  await add('13', `4:memory:/kubepods/pod1/${ID}`, 'Z', { 13: 'Z', 14: 'R' });
  await add('15', '0::/other', 'R');
  await mkdir(join(proc, '16'));
  await writeFile(join(proc, 'uptime'), '');
  t.deepEqual(await findProcessesOfCgroup(ID, proc), [
    { pid: 10, command: 'a (b) c', state: 'S', waitsIn: '' },
    { pid: 11, command: 'a (b) c', state: 'D', waitsIn: 'nfs_wait' },
    { pid: 13, command: 'a (b) c', state: 'Z', waitsIn: '' },
  ]);
});
