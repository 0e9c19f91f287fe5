import test from 'ava';
import { formatCpuList, parseCpuList, sameCpus } from '../../../src/linux/cpu-list.ts';

for (const [text, cpus] of [
  ['', []],
  ['0', [0]],
  ['0-3', [0, 1, 2, 3]],
  ['0-1,8,10-11\n', [0, 1, 8, 10, 11]],
  ['3,1,2', [1, 2, 3]],
] as const)
  test(`a list of CPUs: ${JSON.stringify(text)}`, (t) => {
    t.true(sameCpus(parseCpuList(text), new Set(cpus)));
    t.true(sameCpus(parseCpuList(formatCpuList(cpus)), new Set(cpus)));
  });

for (const [text, says] of [
  ['0-', /"0-" is not a CPU number or a range/],
  ['a', /"a" is not a CPU number/],
  ['1,,2', /"" is not a CPU number/],
  ['-1', /"-1" is not/],
  ['3-1', /"3-1" ends before it begins/],
  ['0 1', /"0 1" is not/],
  ['1.5', /"1\.5" is not/],
] as const)
  test(`no list of CPUs: ${JSON.stringify(text)}`, (t) => {
    t.throws(() => parseCpuList(text), { message: says });
  });

test('CPUs are written in order, neighbours as ranges', (t) => {
  t.is(formatCpuList([7, 0, 2, 1, 10]), '0-2,7,10');
  t.is(formatCpuList([]), '');
});
