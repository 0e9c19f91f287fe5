import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'ava';
import { openCgroups } from '../../../src/linux/cgroup/cgroups.ts';

/** A branch of this test's own below every controller of the real kernel. */
const branch = `/berth-test-${process.pid}`;

test.after.always(async () => {
  await (await openCgroups()).remove(branch);
});

test.serial('limits are what the kernel reads back', async (t) => {
  const cgroups = await openCgroups();
  await cgroups.ensure(branch, {});
  await cgroups.ensure(`${branch}/pod1`, {
    cpuShares: 512,
    cpuQuotaUs: 20_000,
    cpuPeriodUs: 100_000,
    memoryBytes: 64 * 1024 * 1024,
    pids: 50,
  });
  t.true(await cgroups.exists(`${branch}/pod1`));
  t.deepEqual(await cgroups.children(branch), ['pod1']);
  const read = (controller: string, file: string) => cgroups.read(`${branch}/pod1`, controller, file);
  if (cgroups.version === 1) {
    t.is(await read('cpu', 'cpu.shares'), '512');
    t.is(await read('cpu', 'cpu.cfs_quota_us'), '20000');
    t.is(await read('memory', 'memory.limit_in_bytes'), String(64 * 1024 * 1024));
    if (cgroups.hierarchies.controllers.has('cpuset')) t.not(await read('cpuset', 'cpuset.cpus'), '');
  } else {
    t.is(await read('cpu', 'cpu.weight'), '20');
    t.is(await read('cpu', 'cpu.max'), '20000 100000');
    t.is(await read('memory', 'memory.max'), String(64 * 1024 * 1024));
  }
  t.is(await read('pids', 'pids.max'), '50');
  // Again, with limits taken back: idempotent.
  await cgroups.ensure(`${branch}/pod1`, { cpuQuotaUs: 'max', memoryBytes: 'max', pids: 'max' });
  t.is(await read('pids', 'pids.max'), 'max');
});

test.serial('removal kills what runs there, in nested cgroups too, and leaves no directory', async (t) => {
  const cgroups = await openCgroups();
  await cgroups.ensure(`${branch}/pod2/container`, {});
  const child = spawn('/bin/sleep', ['300'], { stdio: 'ignore' });
  for (const directory of new Set(cgroups.hierarchies.controllers.values()))
    await writeFile(join(directory, branch, 'pod2/container/cgroup.procs'), String(child.pid)).catch((error) => {
      // Hierarchies that we don't manage have no such directory.
      if (error.code !== 'ENOENT') throw error;
    });
  t.true((await cgroups.processes(`${branch}/pod2`)).includes(child.pid!));
  const gone = once(child, 'exit');
  await cgroups.remove(`${branch}/pod2`);
  await gone;
  t.false(await cgroups.exists(`${branch}/pod2`));
  t.deepEqual(await cgroups.processes(`${branch}/pod2`), []);
  await cgroups.remove(`${branch}/pod2`);
});

test.serial('a memory limit bites', async (t) => {
  const cgroups = await openCgroups();
  const path = `${branch}/oom`;
  await cgroups.ensure(path, { memoryBytes: 16 * 1024 * 1024 });
  const procs = join(cgroups.hierarchies.controllers.get('memory')!, path, 'cgroup.procs');
  const child = spawn(
    '/bin/sh',
    ['-c', `echo $$ > ${procs}; head -c 200m /dev/zero | tail -c 150m > /dev/null; exit $?`],
    { stdio: 'ignore' },
  );
  const [code, signal] = await once(child, 'exit');
  t.true(signal === 'SIGKILL' || code !== 0, `exit ${code} ${signal}`);
});
