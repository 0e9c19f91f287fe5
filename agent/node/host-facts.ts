import { readdirSync, readFileSync } from 'node:fs';
import { statfs } from 'node:fs/promises';
import { arch, cpus, release } from 'node:os';
import { join } from 'node:path';
import type { NodeSystemInfo } from '../../src/kube/types.ts';
import type { HostCapacity } from '../resources/node-resources.ts';

/** What the host is: read once at start from /proc, /sys and /etc (below `root`, for tests). */
export interface HostFacts {
  capacity: HostCapacity;
  /** Without the versions of runtime and agent. */
  identity: Omit<NodeSystemInfo, 'containerRuntimeVersion' | 'kubeletVersion'>;
}

/** GOARCH names, which Kubernetes uses. */
const ARCHITECTURES: Record<string, string> = { x64: 'amd64', ia32: '386', loong64: 'loong64' };

/** Firmware with DMI; a device tree, of a machine or of a virtual one. Where there is none (containers), the machine id is as unique. */
const SYSTEM_UUIDS = ['sys/class/dmi/id/product_uuid', 'proc/device-tree/system-id', 'proc/device-tree/vm,uuid'];

/** @param rootDir directory whose file system is the node's ephemeral storage; must exist. */
export async function readHostFacts(rootDir: string, root = '/'): Promise<HostFacts> {
  const read = (path: string) => readText(join(root, path));
  const memory = parseMeminfo(read('proc/meminfo') ?? '');
  const storage = await statfs(rootDir);
  const machineId = read('etc/machine-id') || read('var/lib/dbus/machine-id') || '';
  const swapBytes = memory.SwapTotal ?? 0;
  return {
    capacity: {
      cpus: cpus().length,
      memoryBytes: memory.MemTotal ?? 0,
      nodeFsBytes: storage.blocks * storage.bsize,
      pidMax: Number(read('proc/sys/kernel/pid_max') ?? 32768),
      hugepages: readHugepages(join(root, 'sys/kernel/mm/hugepages')),
    },
    identity: {
      machineID: machineId,
      systemUUID: SYSTEM_UUIDS.map(read).find((uuid) => uuid) ?? machineId,
      bootID: read('proc/sys/kernel/random/boot_id') ?? '',
      kernelVersion: release(),
      osImage: parseOsRelease(read('etc/os-release') ?? read('usr/lib/os-release') ?? ''),
      kubeProxyVersion: '',
      operatingSystem: 'linux',
      architecture: goArchitecture(arch()),
      ...(swapBytes > 0 && { swap: { capacity: swapBytes } }),
    },
  };
}

export function goArchitecture(nodeArchitecture: string): string {
  return ARCHITECTURES[nodeArchitecture] ?? nodeArchitecture;
}

/** Bytes by name. */
export function parseMeminfo(text: string): Record<string, number> {
  const entries = [...text.matchAll(/^([^:]+):\s+(\d+)( kB)?$/gm)];
  return Object.fromEntries(entries.map(([, name, number, unit]) => [name!, Number(number) * (unit ? 1024 : 1)]));
}

/** PRETTY_NAME of os-release. */
export function parseOsRelease(text: string): string {
  return (
    /^PRETTY_NAME=(?:"([^"]*)"|'([^']*)'|(.*))$/m
      .exec(text)
      ?.slice(1)
      .find((part) => part !== undefined) ?? 'Linux'
  );
}

function readHugepages(directory: string): Map<number, number> {
  const pages = new Map<number, number>();
  for (const name of listDirectory(directory)) {
    const size = /^hugepages-(\d+)kB$/.exec(name);
    if (!size) continue;
    const sizeBytes = Number(size[1]) * 1024;
    pages.set(sizeBytes, Number(readText(join(directory, name, 'nr_hugepages')) ?? 0) * sizeBytes);
  }
  return pages;
}

function listDirectory(path: string): string[] {
  try {
    return readdirSync(path).sort();
  } catch {
    return [];
  }
}

function readText(path: string): string | undefined {
  try {
    // Texts of a device tree end with a zero byte.
    return readFileSync(path, 'utf8').replace(/\0+$/, '').trim();
  } catch {
    return undefined;
  }
}
