import test from 'ava';
import { judgeDisk } from '../../../cli/doctor/disk.ts';
import { judgeEngine } from '../../../cli/doctor/engine.ts';
import type { Finding } from '../../../cli/doctor/finding.ts';
import { judgeKernel, type KernelFacts } from '../../../cli/doctor/kernel.ts';
import type { EngineInfo, EngineVersion } from '../../../src/docker/engine.ts';

const INFO: EngineInfo = {
  name: 'host',
  serverVersion: '20.10.24',
  cgroupDriver: 'systemd',
  cgroupVersion: '2',
  dockerRootDir: '/var/lib/docker',
  securityOptions: [],
  loggingDriver: 'json-file',
  runtimes: ['runc', 'berth'],
  defaultRuntime: 'runc',
  storageDriver: 'overlay2',
  liveRestore: true,
  cdiSpecDirs: [],
};
const VERSION: EngineVersion = {
  version: '20.10.24+dfsg1',
  apiVersion: '1.41',
  minApiVersion: '1.12',
  components: { runc: '1.3.3' },
};
const KERNEL: KernelFacts = {
  release: '6.12.8-amd64',
  fileSystems: ['ext4', 'overlay'],
  namespaces: ['cgroup', 'ipc', 'mnt', 'net', 'pid', 'pid_for_children', 'time', 'user', 'uts'],
  cgroupControllers: ['cpuset', 'cpu', 'io', 'memory', 'pids'],
  seccompActions: 'kill_process errno allow',
  appArmor: true,
  bridgeNetfilter: true,
  sysResource: true,
  swapBytes: 0,
  sysctl: () => '9223372036854775807',
};

const engine = (
  info: Partial<EngineInfo> = {},
  version: Partial<EngineVersion> = {},
  podRuntime = 'auto',
  isOwn = false,
) => judgeEngine({ ...INFO, ...info }, { ...VERSION, ...version }, { podRuntime, isOwn });
const kernel = (facts: Partial<KernelFacts>) => judgeKernel({ ...KERNEL, ...facts });
const notOk = (findings: Finding[]) => findings.filter(({ state }) => state !== 'ok');

test('an Engine and a kernel that have everything', (t) => {
  t.deepEqual(notOk(engine()), []);
  t.deepEqual(notOk(kernel({})), []);
});

for (const [title, findings, check, state] of [
  ['an Engine too old', engine({}, { version: '19.03.15' }), 'docker engine', 'problem'],
  ['cgroup v1', engine({ cgroupVersion: '1', cgroupDriver: 'cgroupfs' }), 'cgroups', 'warning'],
  ['no cgroups', engine({ cgroupDriver: 'none' }), 'cgroups', 'problem'],
  ['vfs', engine({ storageDriver: 'vfs' }), 'storage driver', 'warning'],
  ['no live-restore', engine({ liveRestore: false }), 'live-restore', 'warning'],
  ['the runtime is not registered', engine({ runtimes: ['runc'] }), 'pod runtime', 'warning'],
  ['a runtime was named that is not there', engine({}, {}, 'crun'), 'pod runtime', 'problem'],
  ['an Engine that hides runc', engine({}, { components: {} }), 'runc', 'warning'],
  ['a kernel too old', kernel({ release: '4.9.0-19-amd64' }), 'kernel', 'problem'],
  ['a kernel without mount_setattr', kernel({ release: '5.10.0-28-amd64' }), 'kernel', 'warning'],
  ['no overlayfs', kernel({ fileSystems: ['ext4'] }), 'overlayfs', 'problem'],
  ['no network namespaces', kernel({ namespaces: ['mnt', 'pid', 'ipc', 'uts', 'cgroup'] }), 'namespaces', 'problem'],
  ['memory controller off', kernel({ cgroupControllers: ['cpu', 'cpuset', 'pids'] }), 'cgroup controllers', 'problem'],
  ['no br_netfilter', kernel({ bridgeNetfilter: false }), 'br_netfilter', 'problem'],
  ['no seccomp', kernel({ seccompActions: undefined }), 'seccomp', 'warning'],
  ['few capabilities', kernel({ sysResource: false }), 'CAP_SYS_RESOURCE', 'warning'],
  ['swap', kernel({ swapBytes: 2 ** 30 }), 'swap', 'warning'],
  [
    'few inotify instances',
    kernel({ sysctl: (key) => (key === 'fs.inotify.max_user_instances' ? '128' : '9999999') }),
    'fs.inotify.max_user_instances',
    'warning',
  ],
] as [string, Finding[], string, Finding['state']][])
  test(`${title}: ${state}, with a way out`, (t) => {
    const [finding, ...more] = notOk(findings);
    t.deepEqual(more, []);
    t.is(finding?.check, check);
    t.is(finding?.state, state);
    t.truthy(finding?.detail);
    t.truthy(finding?.remedy);
  });

for (const [version, flaws] of [
  ['1.0.0~rc93', ['CVE-2024-21626', 'CVE-2025-31133']],
  ['1.1.5+ds1', ['CVE-2024-21626', 'CVE-2025-31133']],
  ['1.1.12', ['CVE-2025-31133']],
  ['1.2.7', ['CVE-2025-31133']],
  ['1.2.8', []],
  ['1.3.2-0ubuntu1', ['CVE-2025-31133']],
  ['1.3.3', []],
  ['1.4.0', []],
] as [string, string[]][])
  test(`CVE-2024-21626, CVE-2025-31133: runc ${version}`, (t) => {
    const { detail } = engine({}, { components: { runc: version } }).find(({ check }) => check === 'runc')!;
    for (const name of ['CVE-2024-21626', 'CVE-2025-31133']) t.is(detail.includes(name), flaws.includes(name), detail);
  });

test('the runtime of pods: used, turned off, or to be had', (t) => {
  const said = (findings: Finding[]) => findings.find(({ check }) => check === 'pod runtime')!;
  t.is(said(engine()).detail, 'berth (--pod-runtime auto)');
  t.is(said(engine({}, {}, 'none')).detail, 'runc, as told (--pod-runtime none)');
  t.regex(said(engine({ runtimes: ['runc'] })).remedy!, /berth engine-runtime/);
  t.regex(said(engine({ runtimes: ['runc'] }, {}, 'auto', true)).remedy!, /berth down/);
  t.regex(said(engine({ runtimes: ['runc'] })).detail, /two thirds/);
  t.notRegex(said(engine({ runtimes: ['runc'] }, { version: '28.1.0' })).detail, /two thirds/);
  t.regex(said(engine({ securityOptions: ['name=userns'] })).detail, /remaps users/);
});

test('sysctls that the kernel does not have are not judged', (t) => {
  t.deepEqual(notOk(kernel({ sysctl: () => undefined })), []);
});

for (const [freePercent, collectAt, evictBelow, state] of [
  [50, 85, 15, 'ok'],
  [16, 85, 15, 'ok'],
  [15, 85, 15, 'warning'],
  [14, 85, 15, 'problem'],
  [10, undefined, 10, 'ok'],
  [9, undefined, 10, 'problem'],
] as const)
  test(`a disk of which ${freePercent} % are free, thresholds ${collectAt ?? 'none'} and ${evictBelow}: ${state}`, (t) => {
    const disk = { path: '/d', capacityBytes: 100 * 2 ** 30, availableBytes: freePercent * 2 ** 30 };
    const finding = judgeDisk('disk', disk, collectAt, evictBelow);
    t.is(finding.state, state);
    t.true(finding.detail.startsWith(`/d: ${freePercent} % of 100.0 GiB are free`), finding.detail);
    t.is(finding.remedy === undefined, state === 'ok');
  });
