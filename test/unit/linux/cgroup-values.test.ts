import test from 'ava';
import { cpuQuotaUs, cpuShares, cpuWeight, renderLimits } from '../../../src/linux/cgroup/values.ts';

for (const [millis, shares] of [
  [0, 2],
  [1, 2],
  [2, 2],
  [10, 10],
  [100, 102],
  [250, 256],
  [1000, 1024],
  [1500, 1536],
  [1_000_000, 262144],
] as const)
  test(`shares of ${millis}m`, (t) => t.is(cpuShares(millis), shares));

for (const [millis, periodUs, quota] of [
  [0, 100_000, undefined],
  [1, 100_000, 1000],
  [10, 100_000, 1000],
  [11, 100_000, 1100],
  [250, 100_000, 25_000],
  [2000, 100_000, 200_000],
  [500, 10_000, 5000],
] as const)
  test(`quota of ${millis}m in ${periodUs} µs`, (t) => t.is(cpuQuotaUs(millis, periodUs), quota));

for (const [shares, weight] of [
  [2, 1],
  [102, 4],
  [1024, 39],
  [262144, 10000],
] as const)
  test(`weight of ${shares} shares`, (t) => t.is(cpuWeight(shares), weight));

const limits = {
  cpuShares: 1024,
  cpuQuotaUs: 50_000,
  cpuPeriodUs: 100_000,
  memoryBytes: 1 << 20,
  pids: 100,
  hugepageBytes: { '2MB': 0 },
};

test('files of v1', (t) => {
  t.deepEqual(
    renderLimits(1, limits).map(({ file, value }) => `${file}=${value}`),
    [
      'cpu.shares=1024',
      'cpu.cfs_period_us=100000',
      'cpu.cfs_quota_us=50000',
      'memory.limit_in_bytes=1048576',
      'pids.max=100',
      'hugetlb.2MB.limit_in_bytes=0',
    ],
  );
  t.deepEqual(
    renderLimits(1, { cpuQuotaUs: 'max', memoryBytes: 'max', pids: 'max' }).map(
      ({ file, value }) => `${file}=${value}`,
    ),
    ['cpu.cfs_quota_us=-1', 'memory.limit_in_bytes=-1', 'pids.max=max'],
  );
});

test('files of v2', (t) => {
  t.deepEqual(
    renderLimits(2, limits).map(({ file, value }) => `${file}=${value}`),
    ['cpu.weight=39', 'cpu.max=50000 100000', 'memory.max=1048576', 'pids.max=100', 'hugetlb.2MB.max=0'],
  );
  t.deepEqual(
    renderLimits(2, { cpuQuotaUs: 'max', memoryBytes: 'max' }).map(({ file, value }) => `${file}=${value}`),
    ['cpu.max=max 100000', 'memory.max=max'],
  );
  t.deepEqual(renderLimits(2, {}), []);
});

test('what v2 alone has: protection, throttling, swap, the OOM group; nothing of it on v1', (t) => {
  const limits = {
    memoryMinBytes: 1,
    memoryLowBytes: 2,
    memoryHighBytes: 'max' as const,
    memoryBytes: 4,
    swapBytes: 0,
    oomGroup: true,
  };
  t.deepEqual(
    renderLimits(2, limits).map(({ file, value, isOptional }) => `${file}=${value}${isOptional ? '?' : ''}`),
    ['memory.min=1', 'memory.low=2', 'memory.high=max', 'memory.max=4', 'memory.swap.max=0?', 'memory.oom.group=1?'],
  );
  t.deepEqual(renderLimits(1, limits), [{ controller: 'memory', file: 'memory.limit_in_bytes', value: '4' }]);
  t.deepEqual(renderLimits(2, { oomGroup: false }), [
    { controller: 'memory', file: 'memory.oom.group', value: '0', isOptional: true },
  ]);
});
