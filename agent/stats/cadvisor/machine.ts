import { readFile } from 'node:fs/promises';
import { formatLabels, header, sample } from '../exposition.ts';

/** What the machine is, as /metrics/cadvisor tells it; read once. */
export interface Machine {
  cores: number;
  physicalCores: number;
  sockets: number;
  memoryBytes: number;
  swapBytes: number;
  machineId: string;
  systemUuid: string;
  bootId: string;
  kernelVersion: string;
  osVersion: string;
  dockerVersion: string;
  /** Our own, where cAdvisor tells its. */
  version: string;
}

/** Cores and sockets of /proc/cpuinfo; a machine that does not tell has as many cores as CPUs, on one socket. Pure. */
export function parseCpuTopology(text: string, cpus: number): Pick<Machine, 'cores' | 'physicalCores' | 'sockets'> {
  const [cores, sockets] = [new Set<string>(), new Set<string>()];
  for (const block of text.split('\n\n')) {
    const socket = /^physical id\s*: (\d+)/m.exec(block)?.[1];
    const core = /^core id\s*: (\d+)/m.exec(block)?.[1];
    if (socket === undefined || core === undefined) continue;
    sockets.add(socket);
    cores.add(`${socket}/${core}`);
  }
  return { cores: cpus, physicalCores: cores.size || cpus, sockets: sockets.size || 1 };
}

export async function readCpuTopology(cpus: number, path = '/proc/cpuinfo') {
  return parseCpuTopology(await readFile(path, 'utf8').catch(() => ''), cpus);
}

export function renderMachine(machine: Machine): string {
  const labels = formatLabels({
    boot_id: machine.bootId,
    machine_id: machine.machineId,
    system_uuid: machine.systemUuid,
  });
  const gauge = (name: string, help: string, value: number, own = labels) =>
    header(name, 'gauge', help) + sample(name, own, value);
  return [
    gauge(
      'cadvisor_version_info',
      "A metric with a constant '1' value labeled by kernel version, OS version, docker version, cadvisor version & cadvisor revision.",
      1,
      formatLabels({
        cadvisorRevision: '',
        cadvisorVersion: machine.version,
        dockerVersion: machine.dockerVersion,
        kernelVersion: machine.kernelVersion,
        osVersion: machine.osVersion,
      }),
    ),
    gauge('machine_cpu_cores', 'Number of logical CPU cores.', machine.cores),
    gauge('machine_cpu_physical_cores', 'Number of physical CPU cores.', machine.physicalCores),
    gauge('machine_cpu_sockets', 'Number of CPU sockets.', machine.sockets),
    gauge('machine_memory_bytes', 'Amount of memory installed on the machine.', machine.memoryBytes),
    gauge('machine_swap_bytes', 'Amount of swap memory available on the machine.', machine.swapBytes),
    gauge('machine_scrape_error', '1 if there was an error while getting machine metrics, 0 otherwise.', 0, ''),
  ].join('');
}
