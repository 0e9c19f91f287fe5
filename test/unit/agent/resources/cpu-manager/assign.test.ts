import test from 'ava';
import { type AssignOptions, NotEnoughCpusError } from '../../../../../agent/resources/cpu-manager/assign.ts';
import { assignCpus } from '../../../../../agent/resources/cpu-manager/assign-evenly.ts';
import { buildCpuTopology, groupCpus } from '../../../../../agent/resources/cpu-manager/cpu-topology.ts';
import { formatCpuList, parseCpuList } from '../../../../../src/linux/cpu-list.ts';
import { type MachineShape, machineOf } from '../../../../support/fake-machine.ts';

const MACHINES = {
  singleHt: { coresPerNuma: 4, threads: 2 },
  /** Even cores in socket 0, odd ones in socket 1. */
  dualHt: { sockets: 2, coresPerNuma: 3, threads: 2, interleaved: true },
  dual: { sockets: 2, coresPerNuma: 4 },
  multiNumaHt: { sockets: 2, numaPerSocket: 2, coresPerNuma: 10, threads: 2 },
  /** 256 CPUs on 8 NUMA nodes. */
  largeHt: { sockets: 2, numaPerSocket: 4, coresPerNuma: 16, threads: 2 },
  caches: { coresPerNuma: 16, coresPerCache: 4 },
  cachesHt: { coresPerNuma: 8, coresPerCache: 4, threads: 2 },
  cachesDual: { sockets: 2, coresPerNuma: 8, coresPerCache: 4 },
  cachesNuma: { numaPerSocket: 2, coresPerNuma: 8, coresPerCache: 4 },
} satisfies Record<string, MachineShape>;
const topologyOf = (name: keyof typeof MACHINES) => buildCpuTopology(machineOf(MACHINES[name]));

type Case = [machine: keyof typeof MACHINES, available: string, count: number, expected: string];

// What the kubelet picks of the same machines.
const PACKED: Case[] = [
  ['singleHt', '0-7', 0, ''],
  ['singleHt', '0-7', 1, '0'],
  ['singleHt', '1,3,5-7', 1, '6'],
  ['singleHt', '0-7', 2, '0,4'],
  ['singleHt', '0-7', 8, '0-7'],
  ['singleHt', '0-3,6', 2, '2,6'],
  ['dualHt', '0-11', 6, '0,2,4,6,8,10'],
  ['dualHt', '1-5,7-11', 1, '2'],
  ['dualHt', '0-11', 8, '0-2,4,6-8,10'],
  ['multiNumaHt', '0-79', 40, '0-19,40-59'],
  ['multiNumaHt', '0-79', 20, '0-9,40-49'],
  ['multiNumaHt', '10-39,50-79', 20, '10-19,50-59'],
  ['multiNumaHt', '0-79', 60, '0-29,40-69'],
  ['multiNumaHt', '1-39,41-79', 60, '10-39,50-79'],
  ['multiNumaHt', '0-79', 64, '0-31,40-71'],
];
const CACHES: Case[] = [
  ['caches', '1-15', 10, '1-2,4-11'],
  ['cachesDual', '0-15', 4, '0-3'],
  ['cachesDual', '2-15', 6, '2-7'],
  ['cachesDual', '8-15', 4, '8-11'],
  ['cachesNuma', '3-8,12', 2, '4-5'],
  ['cachesHt', '2-7,10-15', 6, '4-6,12-14'],
  ['cachesHt', '1-7,9-15', 10, '1,4-7,9,12-15'],
];
const SPREAD: Case[] = [
  ['singleHt', '0-7', 3, '0-2'],
  ['dualHt', '0-11', 2, '0,2'],
  ['dualHt', '0-11', 6, '0,2,4,6,8,10'],
  ['dualHt', '0-11', 8, '0-4,6,8,10'],
  ['dual', '0-7', 2, '0-1'],
  ['multiNumaHt', '0-79', 8, '0-7'],
];
const EVEN: Case[] = [
  ...PACKED.filter(([machine, , count]) => count !== 8 && count !== 64 && !(machine === 'dualHt' && count === 1)),
  ['dualHt', '1-5,7-11', 1, '1'],
  ['dualHt', '0-11', 8, '0-3,6-9'],
  ['multiNumaHt', '0-79', 64, '0-7,10-17,20-27,30-37,40-47,50-57,60-67,70-77'],
  ['multiNumaHt', '0-79', 48, '0-7,10-17,20-27,40-47,50-57,60-67'],
  ['multiNumaHt', '1-29,32-39,41-69,72-79', 48, '1-8,10-17,20-27,41-48,50-57,60-67'],
  ['multiNumaHt', '2-29,31-39,42-69,71-79', 48, '10-17,20-27,31-38,50-57,60-67,71-78'],
  ['multiNumaHt', '0-2,10-12,20-22,30-32,40-41,50-51,60-61,70-71', 16, '0-1,10-11,20-21,30-31,40-41,50-51,60-61,70-71'],
  ['multiNumaHt', '0-79', 26, '0-6,10-16,40-45,50-55'],
  ['multiNumaHt', '0-79', 62, '0-7,10-17,20-27,30-37,40-47,50-57,60-66,70-76'],
  ['multiNumaHt', '0-8,10-18,20-39,40-48,50-58,60-79', 62, '0-7,10-17,20-27,30-37,40-46,50-56,60-67,70-77'],
  ['multiNumaHt', '0-3,10-13,20-23,30-36,40-43,50-53,60-63,70-76', 34, '0-3,10-13,20-23,30-34,40-43,50-53,60-63,70-74'],
  [
    'largeHt',
    '0,128,30-31,158-159,43-47,171-175,62-63,190-191,75-79,203-207,94,96,222-223,101-111,229-239,126-127,254-255',
    28,
    '43-47,75-79,96,101-105,171-174,203-206,229-232',
  ],
];
const EVEN_WHOLE_CORES: Case[] = [
  ['dualHt', '1-5,7-11', 1, '2'],
  ['multiNumaHt', '0-79', 26, '0-6,10-15,40-46,50-55'],
  ['multiNumaHt', '0-79', 62, '0-7,10-17,20-27,30-36,40-47,50-57,60-67,70-76'],
  ['multiNumaHt', '0-8,10-18,20-39,40-48,50-58,60-79', 62, '0-7,10-16,20-27,30-37,40-47,50-56,60-67,70-77'],
];

const TABLES: [title: string, options: AssignOptions, cases: Case[]][] = [
  ['packed', {}, PACKED],
  ['packed by cache', { alignByUncoreCache: true }, CACHES],
  ['spread across cores', { spreadAcrossCores: true }, SPREAD],
  ['evenly across NUMA nodes', { spreadAcrossNuma: true }, EVEN],
  ['evenly, by whole cores', { spreadAcrossNuma: true, groupSize: 2 }, EVEN_WHOLE_CORES],
];
for (const [title, options, cases] of TABLES)
  for (const [machine, available, count, expected] of cases)
    test(`${title}: ${count} of ${available} on ${machine}`, (t) => {
      const picked = assignCpus(topologyOf(machine), parseCpuList(available), count, options);
      t.is(formatCpuList(picked), expected);
    });

test('more than there are', (t) => {
  const error = t.throws(() => assignCpus(topologyOf('singleHt'), parseCpuList('0,2,4,6'), 5), {
    instanceOf: NotEnoughCpusError,
  });
  t.is(error?.message, 'not enough cpus available to satisfy request: requested=5, available=4');
  t.throws(() => assignCpus(topologyOf('singleHt'), parseCpuList('0,2'), 3, { spreadAcrossNuma: true }));
});

test('every policy, any machine, any leftover: as many as asked for, all of them free ones, never torn when cores are whole', (t) => {
  let seed = 7;
  const random = (below: number) => {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
    return Math.floor((seed / 2 ** 32) * below);
  };
  for (const name of Object.keys(MACHINES) as (keyof typeof MACHINES)[]) {
    const topology = topologyOf(name);
    const cores = [...groupCpus(topology, topology.all, 'core').values()];
    for (const [, options] of TABLES)
      for (let round = 0; round < 12; round++) {
        const free = new Set(cores.filter(() => random(3) > 0).flat());
        const count = random(free.size + 1);
        const picked = assignCpus(topology, free, count, options);
        t.is(picked.size, count);
        t.true(picked.isSubsetOf(free));
        if (options.spreadAcrossCores || count % topology.cpusPerCore !== 0) continue;
        if (options.spreadAcrossNuma && options.groupSize !== topology.cpusPerCore) continue;
        for (const cpus of groupCpus(topology, picked, 'core').values()) t.is(cpus.length, topology.cpusPerCore);
      }
  }
});
