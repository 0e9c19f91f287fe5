/** Hosts on cgroup v2, which the machines that run tests may lack: what a node in one does with its cgroups. */
import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import test from 'ava';
import { createHost } from '../../cli/hosts/host.ts';

test('a host on cgroup v2 hands controllers on: no process is in its root, also after others came in', async (t) => {
  const host = await createHost('unified');
  t.teardown(() => host.close());
  const sh = async (script: string) => {
    const { code, stdout, stderr } = await host.run(['sh', '-euc', script]);
    return code === 0 ? stdout.trim() : `exit ${code}: ${stderr}`;
  };
  t.is(await sh('cat /proc/self/cgroup'), '0::/init');
  t.is(await sh('cat /sys/fs/cgroup/cgroup.procs'), '');
  t.is(
    await sh(`cd /sys/fs/cgroup; for one in cpu memory pids; do echo "+$one" >cgroup.subtree_control; done
      mkdir pods; cat pods/cgroup.controllers`),
    'cpu memory pids',
  );
  t.is(await sh('echo $$ >/sys/fs/cgroup/pods/cgroup.procs; cat /proc/self/cgroup'), '0::/pods');
});

test('what a host that was killed left of its cgroups does not keep the next one out', async (t) => {
  const branch = '/sys/fs/cgroup/berth-node-killed';
  mkdirSync(`${branch}/kubepods/pod1`, { recursive: true });
  for (const folder of ['/sys/fs/cgroup', branch]) writeFileSync(`${folder}/cgroup.subtree_control`, '+memory');
  const folder = mkdtempSync('/var/tmp/killed-');
  const host = await createHost('killed', { folder, kept: [], cgroupBranch: 'berth-node-killed' });
  t.teardown(() => host.close());
  t.is((await host.run(['ls', '-d', '/sys/fs/cgroup/kubepods'])).code, 2);
});
