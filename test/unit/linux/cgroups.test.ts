import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { openCgroups } from '../../../src/linux/cgroup/cgroups.ts';

async function tree(files: Record<string, string>): Promise<string> {
  const root = await mkdtemp(join(tmpdir(), 'berth-cgroup-'));
  for (const [path, text] of Object.entries(files)) {
    await mkdir(join(root, path, '..'), { recursive: true });
    await writeFile(join(root, path), text);
  }
  return root;
}

test('v1: joined and separate controllers, links, named hierarchies, hybrid', async (t) => {
  const root = await tree({
    'cpu,cpuacct/cgroup.procs': '',
    'memory/cgroup.procs': '',
    'pids/cgroup.procs': '',
    'cpuset/cpuset.cpus': '0-1\n',
    'cpuset/cpuset.mems': '0\n',
    'cpuset/kubepods/cpuset.cpus': '\n',
    'cpuset/kubepods/cpuset.mems': '\n',
    'systemd/cgroup.procs': '',
    'unified/cgroup.procs': '',
  });
  await symlink('cpu,cpuacct', join(root, 'cpu'));
  await symlink('cpu,cpuacct', join(root, 'cpuacct'));
  const cgroups = await openCgroups({ mountRoot: root });
  t.is(cgroups.version, 1);
  t.deepEqual([...cgroups.hierarchies.controllers.keys()].sort(), ['cpu', 'cpuacct', 'cpuset', 'memory', 'pids']);
  t.is(cgroups.hierarchies.directories.length, 6);

  t.false(await cgroups.exists('/kubepods'));
  await cgroups.ensure('/kubepods/podX', { cpuShares: 512, memoryBytes: 4096, hugepageBytes: { '2MB': 0 } });
  t.true(await cgroups.exists('/kubepods/podX'));
  t.is(await readFile(join(root, 'cpu,cpuacct/kubepods/podX/cpu.shares'), 'utf8'), '512');
  t.is(await cgroups.read('/kubepods/podX', 'memory', 'memory.limit_in_bytes'), '4096');
  t.is(await cgroups.read('/kubepods', 'cpuset', 'cpuset.cpus'), '0-1');
  t.is(await cgroups.read('/kubepods', 'hugetlb', 'x'), undefined);
  t.is(await cgroups.read('/absent', 'memory', 'x'), undefined);
  t.deepEqual(await cgroups.children('/kubepods'), ['podX']);
  t.deepEqual(await cgroups.children('/absent'), []);
  await rm(root, { recursive: true });
});

test('v2: controllers are delegated from the top', async (t) => {
  const root = await tree({
    'cgroup.controllers': 'cpuset cpu io memory pids\n',
    'cgroup.subtree_control': 'memory\n',
    'kubepods/cgroup.controllers': 'cpu memory pids cpuset\n',
    'kubepods/cgroup.subtree_control': '\n',
  });
  const cgroups = await openCgroups({ mountRoot: root });
  t.is(cgroups.version, 2);
  await cgroups.ensure('/kubepods/podX', { cpuShares: 1024, memoryBytes: 4096 });
  t.is(await readFile(join(root, 'cgroup.subtree_control'), 'utf8'), '+cpu +cpuset +pids');
  t.is(await readFile(join(root, 'kubepods/cgroup.subtree_control'), 'utf8'), '+cpu +cpuset +memory +pids');
  t.is(await cgroups.read('/kubepods/podX', 'cpu', 'cpu.weight'), '39');
  await rm(root, { recursive: true });
});

test('processes of other pid namespaces (shown as 0) are not listed', async (t) => {
  const root = await tree({
    'cgroup.controllers': 'cpu memory',
    'a/cgroup.procs': '0\n12\n',
    'a/b/cgroup.procs': '7\n',
  });
  const cgroups = await openCgroups({ mountRoot: root });
  t.deepEqual(await cgroups.processes('/a'), [7, 12]);
  await rm(root, { recursive: true });
});

test('no cgroups: the error says where and what', async (t) => {
  const root = await tree({ 'cpu/cgroup.procs': '' });
  await t.throwsAsync(openCgroups({ mountRoot: root }), { message: /no cgroup v2 and no v1 controllers.*found: cpu/ });
  await rm(root, { recursive: true });
});

test('refuses the root and paths that climb', async (t) => {
  const root = await tree({ 'cgroup.controllers': 'cpu memory' });
  const cgroups = await openCgroups({ mountRoot: root });
  await t.throwsAsync(cgroups.remove('/'), { message: /root cgroup/ });
  await t.throwsAsync(cgroups.remove('/a/../..'), { message: /must not hold/ });
  await rm(root, { recursive: true });
});

test('update: only what is there, and nothing of what the kernel lacks', async (t) => {
  const root = await tree({
    'cgroup.controllers': 'cpu memory pids\n',
    'pod/container/memory.max': 'max\n',
    'pod/container/memory.oom.group': '0\n',
  });
  const cgroups = await openCgroups({ mountRoot: root });
  t.true(await cgroups.update('/pod/container', { memoryBytes: 4096, swapBytes: 0, oomGroup: true }));
  t.is(await cgroups.read('/pod/container', 'memory', 'memory.oom.group'), '1');
  t.is(await cgroups.read('/pod/container', 'memory', 'memory.swap.max'), undefined);
  t.false(await cgroups.update('/pod/gone', { memoryBytes: 4096 }));
  await rm(root, { recursive: true });
});
