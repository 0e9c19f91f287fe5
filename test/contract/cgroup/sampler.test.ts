/** Statistics of a real cgroup: of the kernel that this runs on, so of v1 and, in the guest, of v2. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import { readHost } from '../../../agent/stats/host.ts';
import { openCgroups } from '../../../src/linux/cgroup/cgroups.ts';
import { createCgroupSampler } from '../../../src/linux/cgroup/sampler.ts';

const MIB = 1 << 20;
const branch = `/berth-sampler-${process.pid}`;

test.after.always(async () => {
  await (await openCgroups()).remove(branch);
});

test.serial('what a process does is in its cgroup, and in the one above it', async (t) => {
  const cgroups = await openCgroups();
  const path = `${branch}/pod/container`;
  await cgroups.ensure(branch, {});
  await cgroups.ensure(path, { cpuShares: 204, cpuQuotaUs: 20_000, cpuPeriodUs: 100_000, memoryBytes: 64 * MIB });
  const sampler = createCgroupSampler(cgroups.hierarchies);
  t.teardown(() => sampler.close());
  // Waits until it is in the cgroup, then holds 16 MiB and turns.
  const script = 'read line; x=$(head -c 16777216 /dev/zero | tr "\\0" x); while :; do :; done';
  const child = spawn('/bin/sh', ['-c', script], { stdio: ['pipe', 'ignore', 'ignore'] });
  for (const directory of new Set(cgroups.hierarchies.controllers.values()))
    await writeFile(join(directory, path, 'cgroup.procs'), String(child.pid)).catch((error) => {
      if (error.code !== 'ENOENT') throw error;
    });
  const before = sampler.cpu(path)?.usageNanos ?? 0;
  child.stdin.write('go\n');
  await sleep(2500);

  const cpu = sampler.cpu(path, { detailed: true, throttling: true })!;
  const cores = (cpu.usageNanos - before) / 2.5e9;
  t.true(cores > 0.1 && cores < 0.3, `a quota of 0.2 cores, and ${cores}`);
  t.true(cpu.userNanos! + cpu.systemNanos! > 0);
  t.true(cpu.throttledPeriods! > 0 && cpu.throttledPeriods! <= cpu.periods!);
  t.true(cpu.throttledNanos! > 0);
  for (const one of [path, `${branch}/pod`]) {
    const memory = sampler.memory(one)!;
    // How far it has come by now is the machine's affair.
    t.true(memory.usageBytes > MIB / 8 && memory.usageBytes <= 64 * MIB, `${one}: ${memory.usageBytes}`);
    t.true(memory.workingSetBytes <= memory.usageBytes);
    t.true(memory.rssBytes! > 0 && memory.pageFaults! > 0);
  }
  t.true(sampler.cpu(`${branch}/pod`)!.usageNanos >= cpu.usageNanos);
  t.true(sampler.processes(path).includes(child.pid!));
  t.true(sampler.tasks(path)! >= 1);
  const limits = sampler.limits(path);
  t.like(limits, { cpuQuotaUs: 20_000, cpuPeriodUs: 100_000, memoryBytes: 64 * MIB });
  // A weight is rougher than the shares that it was made of.
  t.true(Math.abs(limits.cpuShares! - 204) <= 27, `${limits.cpuShares} shares`);
  t.is(sampler.limits(`${branch}/pod`).memoryBytes, undefined);
  t.is(sampler.memoryEvents(path).oomKills, 0);

  child.kill('SIGKILL');
  await once(child, 'exit');
  await cgroups.remove(`${branch}/pod`);
  for (const read of ['cpu', 'memory', 'tasks'] as const)
    t.is(sampler[read](path), undefined, `${read} of a cgroup that is gone, whose files were open`);
});

test.serial('the node itself', async (t) => {
  const { hierarchies } = await openCgroups();
  const sampler = createCgroupSampler(hierarchies);
  t.teardown(() => sampler.close());
  const host = readHost('/proc', false);
  t.true(sampler.cpu('/')!.usageNanos > 0);
  const memory = sampler.memory('/') ?? sampler.rootMemory(host.memoryTotalBytes! - host.memoryFreeBytes!);
  t.true(memory!.usageBytes > 0 && memory!.usageBytes <= host.memoryTotalBytes!);
  t.true(memory!.workingSetBytes > 0);
  t.true(host.tasks! > 0 && host.maxTasks! > host.tasks!);
});
