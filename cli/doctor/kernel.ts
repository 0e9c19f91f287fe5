import { type Finding, isOlder } from './finding.ts';

/** What is read of the kernel; `undefined` stands for what it does not have. */
export interface KernelFacts {
  release: string;
  /** Names of file systems that it knows now. */
  fileSystems: string[];
  /** Below /proc/self/ns. */
  namespaces: string[];
  /** `cpu`, `memory`, …; of v1 hierarchies or of the v2 root. */
  cgroupControllers: string[];
  seccompActions: string | undefined;
  appArmor: boolean;
  /** br_netfilter: its sysctls are there, or its module can be loaded. */
  bridgeNetfilter: boolean;
  /** Whether oom_score_adj may be lowered and limits raised. */
  sysResource: boolean;
  swapBytes: number;
  sysctl(key: string): string | undefined;
}

const NAMESPACES = ['cgroup', 'ipc', 'mnt', 'net', 'pid', 'uts'];
const CONTROLLERS = ['cpu', 'cpuset', 'memory', 'pids'];

/** The least that a node with a hundred pods gets along with, and what is set when it is not met. */
const LEAST: { key: string; least: number; why: string }[] = [
  { key: 'fs.inotify.max_user_instances', least: 256, why: 'pods that watch files fail with "too many open files"' },
  {
    key: 'fs.inotify.max_user_watches',
    least: 65_536,
    why: 'pods that watch files fail with "no space left on device"',
  },
  { key: 'fs.file-max', least: 200_000, why: 'the whole node runs out of open files' },
  { key: 'kernel.pid_max', least: 32_768, why: 'the whole node runs out of processes' },
  { key: 'net.netfilter.nf_conntrack_max', least: 65_536, why: 'connections are dropped once so many are open' },
];

/** What pods need of the kernel. Pure. */
export function judgeKernel(facts: KernelFacts): Finding[] {
  const missing = (wanted: string[], there: string[]) => wanted.filter((name) => !there.includes(name));
  const noNamespaces = missing(NAMESPACES, facts.namespaces);
  const noControllers = missing(CONTROLLERS, facts.cgroupControllers);
  return [
    judgeRelease(facts.release),
    has(
      'overlayfs',
      facts.fileSystems.includes('overlay'),
      'problem',
      'a kernel with CONFIG_OVERLAY_FS, or modprobe overlay',
    ),
    noNamespaces.length === 0
      ? { check: 'namespaces', state: 'ok', detail: NAMESPACES.join(' ') }
      : {
          check: 'namespaces',
          state: 'problem',
          detail: `without ${noNamespaces.join(' ')}`,
          remedy: 'another kernel',
        },
    noControllers.length === 0
      ? { check: 'cgroup controllers', state: 'ok', detail: CONTROLLERS.join(' ') }
      : {
          check: 'cgroup controllers',
          state: 'problem',
          detail: `without ${noControllers.join(' ')}`,
          remedy: 'cgroup_enable= on the kernel command line, or delegation where this is a container',
        },
    has(
      'br_netfilter',
      facts.bridgeNetfilter,
      'problem',
      'a kernel with CONFIG_BRIDGE_NETFILTER, or its modules package',
    ),
    facts.seccompActions !== undefined
      ? { check: 'seccomp', state: 'ok', detail: facts.seccompActions }
      : {
          check: 'seccomp',
          state: 'warning',
          detail: 'the kernel has no filters: RuntimeDefault confines nothing',
          remedy: 'a kernel with CONFIG_SECCOMP_FILTER',
        },
    { check: 'apparmor', state: 'ok', detail: facts.appArmor ? 'on' : 'off: pods that ask for a profile are refused' },
    facts.sysResource
      ? { check: 'CAP_SYS_RESOURCE', state: 'ok', detail: 'oom_score_adj can be lowered' }
      : {
          check: 'CAP_SYS_RESOURCE',
          state: 'warning',
          detail: 'not ours: no process gets an oom_score_adj below 0, nor higher limits',
          remedy: 'run outside of a container, or give it that capability',
        },
    facts.swapBytes === 0
      ? { check: 'swap', state: 'ok', detail: 'off' }
      : {
          check: 'swap',
          state: 'warning',
          detail: `${Math.round(facts.swapBytes / 2 ** 20)} MiB: memory limits bite later than pods' owners think`,
          remedy: 'swapoff -a, and out of /etc/fstab',
        },
    ...LEAST.flatMap((one) => judgeSysctl(one, facts.sysctl(one.key))),
  ];
}

function judgeRelease(release: string): Finding {
  const check = 'kernel';
  if (isOlder(release, '4.19'))
    return { check, state: 'problem', detail: release, remedy: 'Linux 4.19 or newer, as Kubernetes itself asks for' };
  if (isOlder(release, '5.12'))
    return {
      check,
      state: 'warning',
      detail: `${release}: read-only mounts cannot be made so all the way down (mount_setattr, 5.12)`,
      remedy: 'Linux 5.12 or newer',
    };
  return { check, state: 'ok', detail: release };
}

function has(check: string, isThere: boolean, state: 'warning' | 'problem', remedy: string): Finding {
  return isThere ? { check, state: 'ok', detail: 'there' } : { check, state, detail: 'not there', remedy };
}

function judgeSysctl({ key, least, why }: (typeof LEAST)[number], value: string | undefined): Finding[] {
  // Not of this kernel, or its module is not loaded yet: nothing to judge.
  if (value === undefined) return [];
  // fs.file-max may exceed what a number holds exactly; that is enough in any case.
  if (Number(value) >= least) return [{ check: key, state: 'ok', detail: value }];
  return [{ check: key, state: 'warning', detail: `${value}: ${why}`, remedy: `sysctl -w ${key}=${least}` }];
}
