import { join } from 'node:path';
import { type Pressure, parsePressure } from '../../src/linux/cgroup/stat-text.ts';
import { type InterfaceCounters, parseNetDev } from '../../src/linux/net-dev.ts';
import { readKernelFile } from '../../src/linux/open-files.ts';
import { parseMeminfo } from '../node/host-facts.ts';

/** What the whole node tells in /proc. Bytes. */
export interface HostReading {
  memoryTotalBytes?: number | undefined;
  memoryFreeBytes?: number | undefined;
  swapTotalBytes?: number | undefined;
  swapFreeBytes?: number | undefined;
  /** Processes and threads that there are, and that there may be. */
  tasks?: number | undefined;
  maxTasks?: number | undefined;
  interfaces: InterfaceCounters[];
  defaultInterface?: string | undefined;
  pressure: { cpu?: Pressure | undefined; memory?: Pressure | undefined; io?: Pressure | undefined };
}

/** Memory alone is cheap, and what eviction and autoscalers look at most. */
export function readHost(procRoot: string, memoryOnly: boolean): HostReading {
  const read = (path: string) => readKernelFile(join(procRoot, path)) ?? '';
  const memory = parseMeminfo(read('meminfo').slice(1));
  const reading: HostReading = {
    memoryTotalBytes: memory['MemTotal'],
    memoryFreeBytes: memory['MemFree'],
    swapTotalBytes: memory['SwapTotal'],
    swapFreeBytes: memory['SwapFree'],
    interfaces: [],
    pressure: { cpu: parsePressure(read('pressure/cpu')), memory: parsePressure(read('pressure/memory')) },
  };
  if (memoryOnly) return reading;
  // `0.00 0.01 0.05 1/345 6789`: running and all there are.
  const tasks = Number(/\/(\d+) /.exec(read('loadavg'))?.[1]);
  const limits = ['sys/kernel/pid_max', 'sys/kernel/threads-max'].map((path) => Number.parseInt(read(path), 10));
  const maxTasks = Math.min(...limits.filter((limit) => limit > 0));
  return {
    ...reading,
    ...(tasks > 0 && { tasks }),
    ...(Number.isFinite(maxTasks) && { maxTasks }),
    interfaces: parseNetDev(read('net/dev')).filter(({ name }) => !isIgnoredInterface(name)),
    defaultInterface: parseDefaultInterface(read('net/route')),
    pressure: { ...reading.pressure, io: parsePressure(read('pressure/io')) },
  };
}

/** Interfaces of containers and of the Engine are told by those who own them; as cAdvisor. */
export function isIgnoredInterface(name: string): boolean {
  return name === 'lo' || /^(veth|docker|nerdctl)/.test(name);
}

/** The interface of the route to everywhere, of /proc/net/route; undefined on a node that reaches nobody. */
export function parseDefaultInterface(text: string): string | undefined {
  for (const line of text.split('\n')) {
    const [name, destination, , , , , , mask] = line.split('\t');
    if (destination === '00000000' && mask === '00000000') return name;
  }
  return undefined;
}

/** The cgroup of a process below the mounts; undefined for the root, and when the process is gone. `0::/a` on v2, `4:memory:/a` on v1. */
export function parseProcessCgroup(text: string, version: 1 | 2): string | undefined {
  for (const line of text.split('\n')) {
    const [id, controllers = '', ...path] = line.split(':');
    const wanted = version === 2 ? id === '0' && controllers === '' : controllers.split(',').includes('memory');
    if (wanted) return path.join(':') === '/' ? undefined : path.join(':');
  }
  return undefined;
}
