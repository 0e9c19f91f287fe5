import test from 'ava';
import { createSystemdSlices, renderSliceProperties } from '../../../src/linux/cgroup/systemd.ts';

test('properties of v1 and v2', (t) => {
  const limits = { cpuShares: 1024, cpuQuotaUs: 25_500, cpuPeriodUs: 100_000, memoryBytes: 4096, pids: 'max' as const };
  t.deepEqual(renderSliceProperties(2, limits), [
    ['CPUWeight', 't', '39'],
    ['CPUQuotaPeriodUSec', 't', '100000'],
    ['CPUQuotaPerSecUSec', 't', '260000'],
    ['MemoryMax', 't', '4096'],
    ['TasksMax', 't', '18446744073709551615'],
  ]);
  const memory = { memoryMinBytes: 1, memoryLowBytes: 2, memoryHighBytes: 'max' as const, swapBytes: 0 };
  t.deepEqual(renderSliceProperties(2, memory), [
    ['MemoryMin', 't', '1'],
    ['MemoryLow', 't', '2'],
    ['MemoryHigh', 't', '18446744073709551615'],
    ['MemorySwapMax', 't', '0'],
  ]);
  t.deepEqual(renderSliceProperties(1, memory), []);
  t.deepEqual(renderSliceProperties(1, { cpuShares: 1024, memoryBytes: 4096 }), [
    ['CPUShares', 't', '1024'],
    ['MemoryLimit', 't', '4096'],
  ]);
});

test('a slice is started; a running one is changed; one that is gone is stopped', async (t) => {
  const calls: string[] = [];
  const slices = createSystemdSlices(2, async (_, args) => {
    const line = args.slice(6).join(' ');
    calls.push(line);
    if (calls.length === 2) throw new Error('Call failed: Unit kubepods-a.slice already exists.');
    if (line.startsWith('StopUnit')) throw new Error('Call failed: Unit kubepods-a.slice not loaded.');
  });
  await slices.ensure('kubepods-a.slice', { cpuShares: 2 });
  await slices.ensure('kubepods-a.slice', { cpuShares: 1024 });
  await slices.stop('kubepods-a.slice');
  t.deepEqual(calls, [
    'StartTransientUnit ssa(sv)a(sa(sv)) kubepods-a.slice replace 7 Description s Kubernetes pods: kubepods-a.slice Wants as 1 kubepods.slice DefaultDependencies b false CPUAccounting b true MemoryAccounting b true TasksAccounting b true CPUWeight t 1 0',
    'StartTransientUnit ssa(sv)a(sa(sv)) kubepods-a.slice replace 7 Description s Kubernetes pods: kubepods-a.slice Wants as 1 kubepods.slice DefaultDependencies b false CPUAccounting b true MemoryAccounting b true TasksAccounting b true CPUWeight t 39 0',
    'SetUnitProperties sba(sv) kubepods-a.slice true 1 CPUWeight t 39',
    'StartUnit ss kubepods-a.slice replace',
    'StopUnit ss kubepods-a.slice replace',
  ]);
});
