import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { buildCpuTopology } from '../../../../../agent/resources/cpu-manager/cpu-topology.ts';
import { readMachineTopology } from '../../../../../agent/resources/topology/machine.ts';
import { type MachineShape, machineOf, writeSysfs } from '../../../../support/fake-machine.ts';

async function directory(t: { teardown(after: () => Promise<void>): void }): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'berth-sysfs-'));
  t.teardown(() => rm(path, { recursive: true }));
  return path;
}

const SHAPES: Record<string, MachineShape> = {
  '1 node, no SMT': { coresPerNuma: 2 },
  '2 sockets of 1 node, SMT': { sockets: 2, coresPerNuma: 3, threads: 2, interleaved: true },
  '2 sockets of 2 nodes, SMT, caches of 2 cores': { sockets: 2, numaPerSocket: 2, threads: 2, coresPerCache: 2 },
  '8 nodes, huge pages': { sockets: 2, numaPerSocket: 4, hugepages: new Map([[2 * 2 ** 20, 64 * 2 ** 20]]) },
  '2 nodes and one of memory only': { sockets: 2, memoryOnly: 1 },
};

for (const [title, shape] of Object.entries(SHAPES))
  test(`read from sysfs: ${title}`, async (t) => {
    const root = await directory(t);
    const machine = machineOf(shape);
    await writeSysfs(root, machine);
    t.deepEqual(await readMachineTopology(root), machine);
  });

test('a CPU that is offline is no CPU, also not of its core', async (t) => {
  const root = await directory(t);
  await writeSysfs(root, machineOf({ coresPerNuma: 2, threads: 2 }));
  await writeFile(join(root, 'devices/system/cpu/online'), '1-3\n');
  const { cpus } = await readMachineTopology(root);
  t.deepEqual([...cpus.keys()], [1, 2, 3]);
  t.is(cpus.get(2)?.core, 2);
  t.is(cpus.get(3)?.core, 1);
});

test('a kernel without NUMA has one node, with the memory of the machine', async (t) => {
  const root = await directory(t);
  await writeSysfs(root, machineOf({ coresPerNuma: 2 }));
  await rm(join(root, 'devices/system/node'), { recursive: true });
  await writeFile(join(root, 'meminfo'), 'MemTotal:        2048 kB\n');
  const { cpus, numaNodes } = await readMachineTopology(root, root);
  t.deepEqual(numaNodes, [{ id: 0, memoryBytes: 2 * 2 ** 20, hugepages: new Map(), distances: [10] }]);
  t.deepEqual(
    [...cpus.values()].map(({ numa }) => numa),
    [0, 0],
  );
});

test('without a list of CPUs the file is named', async (t) => {
  const root = await directory(t);
  await t.throwsAsync(readMachineTopology(root), { message: /cpu\/online does not exist/ });
  await writeSysfs(root, machineOf());
  await writeFile(join(root, 'devices/system/cpu/online'), '0-x\n');
  await t.throwsAsync(readMachineTopology(root), { message: /cpu\/online holds no list of CPUs: "0-x"/ });
});

test('this very machine can be read', async (t) => {
  const machine = await readMachineTopology();
  const topology = buildCpuTopology(machine);
  t.true(topology.all.size >= 1);
  t.true(machine.numaNodes.length >= 1);
  t.true(machine.numaNodes.some(({ memoryBytes }) => memoryBytes > 0));
  for (const { core } of machine.cpus.values()) t.true(machine.cpus.has(core));
});
