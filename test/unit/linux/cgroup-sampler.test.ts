import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { findHierarchies } from '../../../src/linux/cgroup/hierarchies.ts';
import { createCgroupSampler } from '../../../src/linux/cgroup/sampler.ts';
import { parseMemoryDetail, parsePressure } from '../../../src/linux/cgroup/stat-text.ts';

/** A tree of files as a kernel has them; gone after the test. */
function tree(t: ExecutionContext, files: Record<string, string>): string {
  const root = mkdtempSync(join(tmpdir(), 'berth-sampler-'));
  t.teardown(() => rmSync(root, { recursive: true, force: true }));
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), text);
  }
  return root;
}

const V1 = {
  'cpuacct/pods/c/cpuacct.usage': '1234567890\n',
  'cpuacct/pods/c/cpuacct.stat': 'user 70\nsystem 30\n',
  'cpu/pods/c/cpu.stat': 'nr_periods 40\nnr_throttled 7\nthrottled_time 350000000\n',
  'cpu/pods/c/cpu.shares': '512\n',
  'cpu/pods/c/cpu.cfs_quota_us': '50000\n',
  'cpu/pods/c/cpu.cfs_period_us': '100000\n',
  'memory/pods/c/memory.usage_in_bytes': '10485760\n',
  'memory/pods/c/memory.stat':
    'cache 1\nrss 2\ninactive_file 3\ntotal_cache 4194304\ntotal_rss 6000000\ntotal_rss_huge 0\ntotal_mapped_file 8192\ntotal_dirty 4096\ntotal_swap 12288\ntotal_pgfault 900\ntotal_pgmajfault 5\ntotal_inactive_file 2097152\ntotal_active_file 1048576\n',
  'memory/pods/c/memory.limit_in_bytes': '67108864\n',
  'memory/pods/c/memory.memsw.limit_in_bytes': '100663296\n',
  'memory/pods/c/memory.soft_limit_in_bytes': '9223372036854771712\n',
  'memory/pods/c/memory.max_usage_in_bytes': '20971520\n',
  'memory/pods/c/memory.failcnt': '3\n',
  'memory/pods/c/memory.kmem.usage_in_bytes': '65536\n',
  'memory/pods/c/memory.oom_control': 'oom_kill_disable 0\nunder_oom 0\noom_kill 2\n',
  'memory/pods/c/cgroup.procs': '17\n42\n',
  'pids/pods/c/pids.current': '5\n',
  'blkio/pods/c/blkio.throttle.io_service_bytes_recursive':
    '8:0 Read 4096\n8:0 Write 8192\n8:0 Sync 4096\n8:0 Total 12288\nTotal 12288\n',
  'blkio/pods/c/blkio.throttle.io_serviced_recursive': '8:0 Read 1\n8:0 Write 2\n8:0 Total 3\nTotal 3\n',
  'cpuset/x': '',
};

const V2 = {
  'cgroup.controllers': 'cpuset cpu io memory hugetlb pids\n',
  'pods/c/cpu.stat':
    'usage_usec 1234567\nuser_usec 700000\nsystem_usec 534567\nnr_periods 40\nnr_throttled 7\nthrottled_usec 350000\n',
  'pods/c/cpu.max': '50000 100000\n',
  'pods/c/cpu.weight': '20\n',
  'pods/c/memory.current': '10485760\n',
  'pods/c/memory.stat':
    'anon 6000000\nfile 4194304\nkernel 65536\nfile_mapped 8192\nfile_dirty 4096\nanon_thp 0\ninactive_file 2097152\nactive_file 1048576\npgfault 900\npgmajfault 5\npgscan 11\npgsteal 9\n',
  'pods/c/memory.max': '67108864\n',
  'pods/c/memory.swap.max': '33554432\n',
  'pods/c/memory.swap.current': '12288\n',
  'pods/c/memory.low': '0\n',
  'pods/c/memory.peak': '20971520\n',
  'pods/c/memory.events': 'low 0\nhigh 4\nmax 3\noom 2\noom_kill 2\noom_group_kill 0\n',
  'pods/c/cgroup.procs': '17\n42\n',
  'pods/c/pids.current': '5\n',
  'pods/c/io.stat': '8:0 rbytes=4096 wbytes=8192 rios=1 wios=2 dbytes=0 dios=0\n8:16 \n',
  'pods/c/cpu.pressure':
    'some avg10=1.50 avg60=0.75 avg300=0.10 total=123456\nfull avg10=0.50 avg60=0.00 avg300=0.00 total=3456\n',
};

for (const [version, files] of [
  [1, V1],
  [2, V2],
] as const) {
  test(`cgroup v${version}: the same cgroup tells the same figures`, async (t) => {
    const sampler = createCgroupSampler(await findHierarchies(tree(t, files)));
    t.teardown(() => sampler.close());
    const cpu = sampler.cpu('/pods/c', { detailed: true, throttling: true })!;
    t.is(Math.round(cpu.usageNanos / 1e6), 1235);
    t.is(cpu.userNanos, 700_000_000);
    t.is(cpu.periods, 40);
    t.is(cpu.throttledPeriods, 7);
    t.is(cpu.throttledNanos, 350_000_000);
    const memory = sampler.memory('/pods/c')!;
    t.is(memory.usageBytes, 10_485_760);
    t.is(memory.workingSetBytes, 10_485_760 - 2_097_152);
    t.is(memory.rssBytes, 6_000_000);
    t.is(memory.pageFaults, 900);
    t.is(memory.majorPageFaults, 5);
    t.is(memory.swapBytes ?? sampler.swap('/pods/c'), 12_288);
    const detail = parseMemoryDetail(version, memory.stat);
    t.is(detail.cacheBytes, 4_194_304);
    t.is(detail.mappedFileBytes, 8192);
    t.is(detail.activeFileBytes, 1_048_576);
    t.is(detail.inactiveFileBytes, 2_097_152);
    t.is(sampler.tasks('/pods/c'), 5);
    t.deepEqual(sampler.processes('/pods/c'), [17, 42]);
    t.deepEqual(sampler.io('/pods/c')?.get('8:0'), { readBytes: 4096, writeBytes: 8192, reads: 1, writes: 2 });
    t.is(sampler.io('/pods/c')?.size, 1);
    t.is(sampler.peakMemory('/pods/c'), 20_971_520);
    t.is(sampler.kernelMemory('/pods/c', memory.stat), 65_536);
    const events = sampler.memoryEvents('/pods/c');
    t.is(events.max, 3);
    t.is(events.oomKills, 2);
    t.is(events.high, version === 2 ? 4 : undefined);
    const limits = sampler.limits('/pods/c');
    t.is(limits.memoryBytes, 67_108_864);
    t.is(limits.swapBytes, 33_554_432);
    t.is(limits.cpuQuotaUs, 50_000);
    t.is(limits.cpuPeriodUs, 100_000);
    t.is(limits.cpuShares, version === 1 ? 512 : 500);
    t.is(sampler.pressure('/pods/c', 'cpu')?.some.total, version === 2 ? 123_456 : undefined);
  });

  test(`cgroup v${version}: one that is not there, or is made anew, or tells no limit`, async (t) => {
    const root = tree(t, files);
    const sampler = createCgroupSampler(await findHierarchies(root));
    t.teardown(() => sampler.close());
    for (const read of ['cpu', 'memory', 'tasks', 'swap', 'io', 'peakMemory'] as const)
      t.is(sampler[read]('/pods/none'), undefined, read);
    t.deepEqual(sampler.processes('/pods/none'), []);
    const stat = version === 1 ? 'memory/pods/c/memory.limit_in_bytes' : 'pods/c/memory.max';
    writeFileSync(join(root, stat), version === 1 ? '9223372036854771712\n' : 'max\n');
    const quota = version === 1 ? 'cpu/pods/c/cpu.cfs_quota_us' : 'pods/c/cpu.max';
    writeFileSync(join(root, quota), version === 1 ? '-1\n' : 'max 100000\n');
    t.is(sampler.limits('/pods/c').memoryBytes, undefined);
    t.is(sampler.limits('/pods/c').cpuQuotaUs, undefined);
    t.is(sampler.memory('/pods/c')?.usageBytes, 10_485_760);
    const usage = version === 1 ? 'memory/pods/c/memory.usage_in_bytes' : 'pods/c/memory.current';
    sampler.retain(new Set());
    rmSync(join(root, usage));
    t.is(sampler.memory('/pods/c'), undefined);
    writeFileSync(join(root, usage), '5\n');
    t.is(sampler.memory('/pods/c')?.usageBytes, 5);
    t.is(sampler.memory('/pods/c')?.workingSetBytes, 0, 'never below nothing');
  });
}

test('files beyond the limit are read all the same', async (t) => {
  const sampler = createCgroupSampler(await findHierarchies(tree(t, V2)), { keptFiles: 1 });
  t.teardown(() => sampler.close());
  for (let round = 0; round < 3; round++) t.is(sampler.memory('/pods/c')?.usageBytes, 10_485_760);
});

test('pressure: without its line full (CPU, before Linux 5.13), and none at all', (t) => {
  const line = { total: 5, avg10: 12.34, avg60: 1, avg300: 0 };
  t.deepEqual(parsePressure('\nsome avg10=12.34 avg60=1.00 avg300=0.00 total=5\n')?.some, line);
  t.is(parsePressure('\nsome avg10=12.34 avg60=1.00 avg300=0.00 total=5\n')?.full.total, 0);
  t.is(parsePressure('\n'), undefined);
});
