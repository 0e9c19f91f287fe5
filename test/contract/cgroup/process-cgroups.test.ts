/** kubeletCgroups and systemCgroups on real cgroups: who is moved, and who is not. */
import { spawn } from 'node:child_process';
import test from 'ava';
import { createProcessCgroups } from '../../../agent/node/process-cgroups.ts';
import { attachProcesses, limitingDirectories, processesIn } from '../../../src/linux/cgroup/attach.ts';
import { openCgroups } from '../../../src/linux/cgroup/cgroups.ts';
import { systemClock } from '../../../src/runtime/clock.ts';
import { silentLogger } from '../../../src/runtime/log.ts';

const ROOT = `/berth-processes-${process.pid}`;

test.serial('a process of the node goes to its cgroup, those of the root to theirs, kernel threads stay', async (t) => {
  const cgroups = await openCgroups();
  const children = Array.from({ length: 4 }, () => spawn('sleep', ['60'], { stdio: 'ignore' }));
  const [agent, kernel, ...daemons] = children.map(({ pid }) => pid!);
  t.teardown(async () => {
    for (const child of children) child.kill('SIGKILL');
    await cgroups.remove(ROOT);
  });
  await cgroups.ensure(ROOT, {});
  const directories = limitingDirectories(cgroups.hierarchies);
  // On v2 a cgroup with processes takes no children with controllers, but for the real root.
  const isV2 = cgroups.version === 2;
  const places = isV2
    ? { own: `${ROOT}-own`, system: `${ROOT}-system` }
    : { own: `${ROOT}/own`, system: `${ROOT}/system` };
  if (isV2) t.teardown(() => Promise.all(Object.values(places).map((path) => cgroups.remove(path))));
  await attachProcesses(directories, ROOT, [agent!, kernel!, ...daemons]);
  const placement = createProcessCgroups(
    { ...places, pid: agent!, root: ROOT },
    { cgroups, clock: systemClock, log: silentLogger, isKernelThread: async (pid) => pid === kernel },
  );
  await placement.ensure();
  await placement.ensure();
  for (const directory of directories) {
    t.deepEqual(await processesIn(directory, places.own), [agent], directory);
    t.deepEqual((await processesIn(directory, places.system)).sort(), daemons.sort(), directory);
    t.deepEqual(await processesIn(directory, ROOT), [kernel], directory);
  }
});
