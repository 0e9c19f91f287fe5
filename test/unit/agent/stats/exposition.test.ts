import test from 'ava';
import { parseDiskStats } from '../../../../agent/stats/cadvisor/devices.ts';
import { parseCpuTopology } from '../../../../agent/stats/cadvisor/machine.ts';
import { createStatisticsEndpoints } from '../../../../agent/stats/endpoints.ts';
import { formatLabels } from '../../../../agent/stats/exposition.ts';
import { settle } from '../../../fakes/clock.ts';
import { NOW_MS } from '../status/cases.ts';
import { createNodeTree, type NodeTree } from './node-tree.ts';

function endpointsOf({ statistics, sampler, clock, root }: NodeTree, errors: unknown[] = []) {
  const machine = {
    ...{ cores: 2, physicalCores: 1, sockets: 1, memoryBytes: 1 << 30, swapBytes: 2 << 20 },
    ...{ machineId: 'm', systemUuid: 'u', bootId: 'b', kernelVersion: '6.1', osVersion: 'Debian', dockerVersion: '20' },
    version: 'v1.36.0',
  };
  return createStatisticsEndpoints(
    { rootDir: `${root}/agent`, dockerRoot: `${root}/docker`, procRoot: `${root}/proc`, machine, bootedAtMs: 0 },
    { statistics, sampler, clock, onError: (error) => errors.push(error) },
  );
}

/** Series by name and labels. */
function parse(text: string): Map<string, number> {
  const lines = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  const series = new Map(
    lines.map((line) => /^(\S+(?: [^{}"]*)?|\S.*?\}) (\S+)/.exec(line)!.slice(1) as [string, string]),
  );
  return new Map([...series].map(([name, value]) => [name, Number(value)]));
}

for (const version of [1, 2] as const)
  test(`/metrics/cadvisor with cgroup v${version}`, async (t) => {
    const tree = await createNodeTree(t, version);
    const endpoints = endpointsOf(tree);
    await endpoints.cadvisorMetrics();
    await settle();
    const text = [...(await endpoints.cadvisorMetrics())].join('');
    const series = parse(text);
    const app =
      'container="app",id="/kubepods/burstable/poduid-1/app0",image="busybox",name="k8s_app_web_default_uid-1_0",namespace="default",pod="web"';
    const pause =
      'container="POD",id="/kubepods/burstable/poduid-1/s",image="pause:1",name="k8s_POD_web_default_uid-1_0",namespace="default",pod="web"';
    const root = 'container="",id="/",image="",name="",namespace="",pod=""';
    const pod = 'container="",id="/kubepods/burstable/poduid-1",image="",name="",namespace="default",pod="web"';
    const expected: Record<string, number> = {
      [`container_cpu_usage_seconds_total{${app},cpu="total"}`]: 3.9,
      [`container_cpu_user_seconds_total{${app}}`]: 1.95,
      [`container_cpu_cfs_periods_total{${app}}`]: 40,
      [`container_cpu_cfs_throttled_periods_total{${app}}`]: 7,
      [`container_cpu_cfs_throttled_seconds_total{${app}}`]: 0.35,
      [`container_memory_usage_bytes{${app}}`]: 29 << 20,
      [`container_memory_working_set_bytes{${app}}`]: 19 << 20,
      [`container_memory_rss{${app}}`]: 1000,
      [`container_memory_cache{${app}}`]: 4096,
      [`container_memory_swap{${app}}`]: 512,
      [`container_memory_failcnt{${app}}`]: 3,
      [`container_memory_failures_total{${app},failure_type="pgmajfault",scope="hierarchy"}`]: 2,
      [`container_oom_events_total{${app}}`]: 1,
      [`container_fs_reads_bytes_total{${app},device="/dev/vda"}`]: 4096,
      [`container_fs_writes_total{${app},device="/dev/vda"}`]: 2,
      [`container_spec_memory_limit_bytes{${app}}`]: 64 << 20,
      [`container_spec_cpu_quota{${app}}`]: 50_000,
      [`container_threads{${app}}`]: 3,
      [`container_processes{${app}}`]: 1,
      [`container_file_descriptors{${app}}`]: 1,
      [`container_tasks_state{${app},state="sleeping"}`]: 1,
      [`container_ulimits_soft{${app},ulimit="max_open_files"}`]: 1024,
      [`container_network_receive_bytes_total{${pause},interface="eth0"}`]: 4242,
      [`container_network_transmit_packets_dropped_total{${pause},interface="eth0"}`]: 6,
      [`container_network_receive_bytes_total{${root},interface="ens3"}`]: 1000,
      [`container_memory_working_set_bytes{${pod}}`]: 20 << 20,
      [`container_memory_working_set_bytes{${root}}`]: 500 << 20,
      [`container_pressure_io_waiting_seconds_total{${root}}`]: 1,
      [`container_spec_memory_limit_bytes{${pod}}`]: 0,
      [`container_fs_reads_total{${root},device="/dev/vda"}`]: 1,
      container_scrape_error: 0,
      machine_scrape_error: 0,
      'machine_cpu_cores{boot_id="b",machine_id="m",system_uuid="u"}': 2,
    };
    for (const [name, value] of Object.entries(expected)) t.is(series.get(name), value, name);
    t.is(series.has(`container_pressure_cpu_waiting_seconds_total{${app}}`), version === 2);
    t.is(series.has(`container_cpu_cfs_periods_total{${pod}}`), false, 'a pod without a quota is not throttled');
    const heads = text.split('\n').filter((line) => line.startsWith('# TYPE'));
    t.is(new Set(heads).size, heads.length, 'every family once');
  });

test('/metrics/resource tells when each value was read, to the millisecond', async (t) => {
  const tree = await createNodeTree(t, 2);
  await tree.clock.advance(1234);
  const text = await endpointsOf(tree).resourceMetrics();
  const timeMs = NOW_MS + 1234;
  for (const line of [
    `node_cpu_usage_seconds_total 60 ${timeMs}`,
    `node_memory_working_set_bytes ${500 << 20} ${timeMs}`,
    `node_swap_usage_bytes ${1 << 20} ${timeMs}`,
    `container_cpu_usage_seconds_total{container="app",namespace="default",pod="web"} 3.9 ${timeMs}`,
    `container_memory_working_set_bytes{container="app",namespace="default",pod="web"} ${19 << 20} ${timeMs}`,
    `container_swap_limit_bytes{container="app",namespace="default",pod="web"} 512 ${timeMs}`,
    `pod_cpu_usage_seconds_total{namespace="default",pod="web"} 4 ${timeMs}`,
    `pod_memory_working_set_bytes{namespace="default",pod="web"} ${20 << 20} ${timeMs}`,
    `container_start_time_seconds{container="app",namespace="default",pod="web"} ${(NOW_MS - 50_000) / 1000}`,
    'resource_scrape_error 0',
  ])
    t.true(text.split('\n').includes(line), line);
});

test('figures that cannot be read are an error in the text, and the scrape succeeds', async (t) => {
  const tree = await createNodeTree(t, 2);
  const errors: unknown[] = [];
  const failing = {
    ...tree.statistics,
    usage: () => Promise.reject(new Error('no')),
    everything: () => Promise.reject(new Error('no')),
  };
  const endpoints = endpointsOf({ ...tree, statistics: failing }, errors);
  t.regex(await endpoints.resourceMetrics(), /^resource_scrape_error 1$/m);
  const text = [...(await endpoints.cadvisorMetrics())].join('');
  t.regex(text, /^container_scrape_error 1$/m);
  t.regex(text, /^machine_cpu_cores\{/m);
  t.is(errors.length, 2);
});

test('label values of anybody are escaped', (t) => {
  t.is(formatLabels({ a: 'x"\\\n', b: '' }), 'a="x\\"\\\\\\n",b=""');
});

test('whole disks by their numbers, partitions only named', (t) => {
  const { names, io } = parseDiskStats(
    ' 8 0 sda 10 0 8 5 20 0 16 5 0 0 0\n 8 1 sda1 9 0 8 5 20 0 16 5\n 259 0 nvme0n1 1 0 2 0 3 0 4 0\n 259 1 nvme0n1p1 1 0 2 0 3 0 4 0\n 7 0 loop0 0 0 0 0 0 0 0 0\n',
  );
  t.is(names.get('8:1'), '/dev/sda1');
  t.deepEqual([...io.keys()], ['8:0', '259:0']);
  t.deepEqual(io.get('8:0'), { readBytes: 4096, writeBytes: 8192, reads: 10, writes: 20 });
});

test('cores and sockets of /proc/cpuinfo', (t) => {
  const cpu = (socket: number, core: number) => `processor : 0\nphysical id : ${socket}\ncore id : ${core}\n`;
  t.deepEqual(parseCpuTopology([cpu(0, 0), cpu(0, 0), cpu(0, 1), cpu(1, 0)].join('\n'), 4), {
    cores: 4,
    physicalCores: 3,
    sockets: 2,
  });
  t.deepEqual(parseCpuTopology('processor : 0\n', 2), { cores: 2, physicalCores: 2, sockets: 1 });
});
