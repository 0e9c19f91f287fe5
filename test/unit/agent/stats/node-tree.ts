import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import type { ExecutionContext } from 'ava';
import type { PodDirectory } from '../../../../agent/pods/ports.ts';
import { createStatistics, type Statistics } from '../../../../agent/stats/statistics.ts';
import { createPodDirectories } from '../../../../agent/volumes/pod-directories.ts';
import { findHierarchies } from '../../../../src/linux/cgroup/hierarchies.ts';
import { type CgroupSampler, createCgroupSampler } from '../../../../src/linux/cgroup/sampler.ts';
import { silentLogger } from '../../../../src/runtime/log.ts';
import { createFakeClock, type FakeClock } from '../../../fakes/clock.ts';
import { mounting, podOf, resources } from '../pod.ts';
import { NOW_MS, observed, run } from '../status/cases.ts';

/** A node of files: cgroups of one version, /proc, the Engine's and the agent's directories, and a pod `web` on it. */
export interface NodeTree {
  root: string;
  version: 1 | 2;
  write(path: string, text: string): void;
  remove(path: string): void;
  /** Files of one cgroup in this version's spelling. */
  cgroup(path: string, figures: CgroupFigures): void;
  statistics: Statistics;
  sampler: CgroupSampler;
  clock: FakeClock;
  pods: Pick<PodDirectory, 'list' | 'runtime'>;
}

export interface CgroupFigures {
  cpuMs: number;
  memoryBytes: number;
  inactiveFileBytes?: number;
  limitBytes?: number;
  quotaUs?: number;
  tasks?: number;
  oomKills?: number;
}

export const POD_PATH = '/kubepods/burstable/poduid-1';

export async function createNodeTree(t: ExecutionContext, version: 1 | 2): Promise<NodeTree> {
  const root = mkdtempSync(join(tmpdir(), 'berth-node-'));
  t.teardown(() => rmSync(root, { recursive: true, force: true }));
  const write = (path: string, text: string) => {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), text);
  };
  const cgroup = (path: string, figures: CgroupFigures) => {
    for (const [file, text] of Object.entries(version === 1 ? filesV1(figures) : filesV2(figures))) {
      const [controller, name] = file.split('/');
      write(version === 1 ? `cgroup/${controller}${path}/${name}` : `cgroup${path}/${name}`, text);
    }
  };
  if (version === 2) write('cgroup/cgroup.controllers', 'cpuset cpu io memory pids\n');
  cgroup('/', { cpuMs: 60_000, memoryBytes: 600 << 20, inactiveFileBytes: 100 << 20 });
  // The root of v2 has no usage of its own.
  if (version === 2) rmSync(join(root, 'cgroup/memory.current'));
  cgroup('/kubepods', { cpuMs: 5_000, memoryBytes: 40 << 20, limitBytes: 900 << 20 });
  cgroup(POD_PATH, { cpuMs: 4_000, memoryBytes: 30 << 20, inactiveFileBytes: 10 << 20, tasks: 4 });
  cgroup(`${POD_PATH}/s`, { cpuMs: 100, memoryBytes: 1 << 20, tasks: 1 });
  cgroup(`${POD_PATH}/app0`, {
    ...{ cpuMs: 3_900, memoryBytes: 29 << 20, inactiveFileBytes: 10 << 20 },
    ...{ limitBytes: 64 << 20, quotaUs: 50_000, tasks: 3, oomKills: 1 },
  });
  write('cgroup/pids/x', '');
  write(version === 1 ? `cgroup/memory${POD_PATH}/s/cgroup.procs` : `cgroup${POD_PATH}/s/cgroup.procs`, '17\n');
  write(version === 1 ? `cgroup/memory${POD_PATH}/app0/cgroup.procs` : `cgroup${POD_PATH}/app0/cgroup.procs`, '42\n');
  writeProc(write);
  write('docker/overlay2/layer/diff/written', 'x'.repeat(9000));
  write('docker/containers/app0/app0-json.log', 'y'.repeat(5000));
  write('docker/containers/app0/app0-json.log.1.gz', 'y'.repeat(5000));
  write('docker/containers/app0/hostname', 'web\n');
  write('docker/containers/s/s-json.log', '');
  for (const [layer, size] of Object.entries({ a: 1000, b: 234 }))
    write(`docker/image/overlay2/layerdb/sha256/${layer}/size`, String(size));
  write('agent/pods/uid-1/volumes/kubernetes.io~empty-dir/scratch/data', 'z'.repeat(20_000));
  write('agent/pods/uid-1/etc-hosts', 'h'.repeat(6000));
  write(
    'proc/42/mountinfo',
    `1 0 0:50 / / rw - overlay overlay rw,lowerdir=/l,upperdir=${root}/docker/overlay2/layer/diff,workdir=/w\n`,
  );

  const pod = podOf({
    ...mounting([
      { name: 'scratch', emptyDir: {} },
      { name: 'data', persistentVolumeClaim: { claimName: 'claim-1' } },
    ]),
  });
  pod.spec.containers[0]!.resources = resources('100m/500m', '64Mi/64Mi');
  const pods = {
    list: () => [pod],
    runtime: () => observed([run('app'), run('app', { id: 'app-old', exit: 1 })]),
  };
  const clock = createFakeClock(NOW_MS);
  const sampler = createCgroupSampler(await findHierarchies(join(root, 'cgroup')));
  t.teardown(() => sampler.close());
  const statistics = createStatistics(
    {
      nodeName: 'n1',
      driver: 'cgroupfs',
      cgroupRoot: '/',
      pauseImage: 'pause:1',
      kubepodsPath: '/kubepods',
      kubeletCgroup: '',
      systemCgroup: '',
      enginePidFile: join(root, 'docker.pid'),
      procRoot: join(root, 'proc'),
      rootDir: join(root, 'agent'),
      dockerRoot: join(root, 'docker'),
      diskPeriodMs: 60_000,
    },
    {
      pods,
      sampler,
      directories: createPodDirectories(join(root, 'agent')),
      imageBytes: async () => 1234,
      claims: {
        of: (_, claim) =>
          claim === 'claim-1' ? { capacityBytes: 1000, usedBytes: 400, availableBytes: 600 } : undefined,
      },
      clock,
      log: silentLogger,
    },
  );
  const remove = (path: string) => rmSync(join(root, path), { recursive: true, force: true });
  return { root, version, write, remove, cgroup, statistics, sampler, clock, pods };
}

function writeProc(write: NodeTree['write']) {
  write(
    'proc/meminfo',
    'MemTotal:        1048576 kB\nMemFree:          434176 kB\nSwapTotal:          2048 kB\nSwapFree:           1024 kB\n',
  );
  write('proc/loadavg', '0.10 0.20 0.30 2/345 6789\n');
  write('proc/sys/kernel/pid_max', '32768\n');
  write('proc/sys/kernel/threads-max', '20000\n');
  write('proc/net/dev', netDev({ lo: 1, ens3: 1000, veth1234: 5 }));
  write(
    'proc/net/route',
    'Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\nens3\t00000000\t0100000A\t0003\t0\t0\t0\t00000000\n',
  );
  write('proc/17/net/dev', netDev({ lo: 7, eth0: 4242 }));
  write('proc/self/cgroup', '4:memory:/system.slice/agent.service\n0::/system.slice/agent.service\n');
  write('proc/self/mountinfo', '');
  for (const resource of ['cpu', 'memory', 'io'])
    write(
      `proc/pressure/${resource}`,
      'some avg10=1.00 avg60=2.00 avg300=3.00 total=1000000\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=500000\n',
    );
  write('proc/diskstats', ' 254 0 vda 10 0 80 5 20 0 160 5 0 0 0\n');
  write('proc/42/stat', '42 (app) S 1 1\n');
  write('proc/42/limits', 'Max open files            1024                 4096                 files\n');
  write('proc/42/fd/0', '');
}

export function netDev(rxBytes: Record<string, number>): string {
  return `head\nhead\n${Object.entries(rxBytes)
    .map(([name, bytes]) => `${name}: ${bytes} 3 1 2 0 0 0 0 ${bytes * 2} 4 5 6 0 0 0 0\n`)
    .join('')}`;
}

function filesV1({
  cpuMs,
  memoryBytes,
  inactiveFileBytes = 0,
  limitBytes,
  quotaUs,
  tasks = 0,
  oomKills = 0,
}: CgroupFigures) {
  return {
    'cpuacct/cpuacct.usage': `${cpuMs * 1e6}\n`,
    'cpuacct/cpuacct.stat': `user ${cpuMs / 20}\nsystem ${cpuMs / 20}\n`,
    'cpu/cpu.stat': 'nr_periods 40\nnr_throttled 7\nthrottled_time 350000000\n',
    'cpu/cpu.cfs_quota_us': `${quotaUs ?? -1}\n`,
    'cpu/cpu.cfs_period_us': '100000\n',
    'cpu/cpu.shares': '102\n',
    'memory/memory.usage_in_bytes': `${memoryBytes}\n`,
    'memory/memory.stat': `cache 0\ntotal_cache 4096\ntotal_rss 1000\ntotal_swap 512\ntotal_pgfault 10\ntotal_pgmajfault 2\ntotal_inactive_file ${inactiveFileBytes}\n`,
    'memory/memory.limit_in_bytes': `${limitBytes ?? '9223372036854771712'}\n`,
    'memory/memory.memsw.limit_in_bytes': `${limitBytes ?? '9223372036854771712'}\n`,
    'memory/memory.oom_control': `oom_kill_disable 0\nunder_oom 0\noom_kill ${oomKills}\n`,
    'memory/memory.failcnt': '3\n',
    'pids/pids.current': `${tasks}\n`,
    'blkio/blkio.throttle.io_service_bytes_recursive': '254:0 Read 4096\n254:0 Write 8192\nTotal 12288\n',
    'blkio/blkio.throttle.io_serviced_recursive': '254:0 Read 1\n254:0 Write 2\nTotal 3\n',
  };
}

function filesV2({
  cpuMs,
  memoryBytes,
  inactiveFileBytes = 0,
  limitBytes,
  quotaUs,
  tasks = 0,
  oomKills = 0,
}: CgroupFigures) {
  return {
    'cpu/cpu.stat': `usage_usec ${cpuMs * 1000}\nuser_usec ${cpuMs * 500}\nsystem_usec ${cpuMs * 500}\nnr_periods 40\nnr_throttled 7\nthrottled_usec 350000\n`,
    'cpu/cpu.max': `${quotaUs ?? 'max'} 100000\n`,
    'cpu/cpu.weight': '4\n',
    'memory/memory.current': `${memoryBytes}\n`,
    'memory/memory.stat': `anon 1000\nfile 4096\npgfault 10\npgmajfault 2\ninactive_file ${inactiveFileBytes}\n`,
    'memory/memory.max': `${limitBytes ?? 'max'}\n`,
    'memory/memory.swap.max': `${limitBytes === undefined ? 'max' : 0}\n`,
    'memory/memory.swap.current': '512\n',
    'memory/memory.events': `low 0\nhigh 0\nmax 3\noom 1\noom_kill ${oomKills}\n`,
    'pids/pids.current': `${tasks}\n`,
    'io/io.stat': '254:0 rbytes=4096 wbytes=8192 rios=1 wios=2\n',
    'cpu/cpu.pressure':
      'some avg10=1.00 avg60=2.00 avg300=3.00 total=1000000\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=500000\n',
  };
}
