import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { release } from 'node:os';
import { parseMeminfo } from '../../agent/node/host-facts.ts';
import { hasSysResource } from '../../agent/resources/capabilities.ts';
import { run } from '../../src/linux/exec.ts';
import { readSysctl } from '../../src/linux/sysctl.ts';
import type { KernelFacts } from './kernel.ts';

/** Reads and asks; changes nothing (a module that could be loaded is not). */
export async function readKernelFacts(): Promise<KernelFacts> {
  return {
    release: release(),
    fileSystems: read('/proc/filesystems')
      .split('\n')
      .map((line) => line.split('\t').at(-1) ?? ''),
    namespaces: readdirSync('/proc/self/ns'),
    cgroupControllers: readControllers(),
    seccompActions: readSysctl('kernel.seccomp.actions_avail'),
    appArmor: read('/sys/module/apparmor/parameters/enabled').trim() === 'Y',
    bridgeNetfilter: existsSync('/proc/sys/net/bridge/bridge-nf-call-iptables') || (await canLoad('br_netfilter')),
    sysResource: hasSysResource(),
    swapBytes: parseMeminfo(read('/proc/meminfo')).SwapTotal ?? 0,
    sysctl: (key) => readSysctl(key),
  };
}

/** v2 lists its controllers in the root; v1 in a table with a line for each: name, hierarchy, groups, enabled. */
function readControllers(): string[] {
  const v2 = read('/sys/fs/cgroup/cgroup.controllers').trim();
  if (v2 !== '') return v2.split(' ');
  return read('/proc/cgroups')
    .split('\n')
    .map((line) => line.split('\t'))
    .filter(([, , , enabled]) => enabled === '1')
    .map(([name]) => name!);
}

async function canLoad(module: string): Promise<boolean> {
  return run('modprobe', ['--dry-run', module]).then(
    () => true,
    () => false,
  );
}

/** Empty when the file is not there. */
function read(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
