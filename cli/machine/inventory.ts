import type { Systeminformation } from 'systeminformation';
import type { HostFacts } from '../../agent/node/host-facts.ts';

/** What this machine is made of, for people who keep lists of machines. Absent: the machine does not tell. */
export interface MachineInventory {
  /** As the Node object has it (status.nodeInfo). */
  identity: { machineID: string; systemUUID: string; bootID: string; kernelVersion: string; osImage: string };
  system: {
    manufacturer?: string;
    model?: string;
    version?: string;
    serialNumber?: string;
    virtual: boolean;
    host?: string;
  };
  firmware: { vendor?: string; version?: string; releaseDate?: string };
  cpu: { model?: string; sockets: number; cores: number; threads: number; maxMHz?: number };
  memory: {
    totalBytes: number;
    swapBytes: number;
    modules: { sizeBytes: number; type?: string; slot?: string; MHz?: number }[];
  };
  disks: { device: string; model?: string; type?: string; sizeBytes: number; bus?: string }[];
  network: { name: string; mac: string; speedMbps?: number; state: string }[];
}

export interface RawInventory {
  system: Systeminformation.SystemData;
  bios: Systeminformation.BiosData;
  cpu: Systeminformation.CpuData;
  memory: Systeminformation.MemData;
  modules: Systeminformation.MemLayoutData[];
  disks: Systeminformation.DiskLayoutData[];
  network: Systeminformation.NetworkInterfacesData[];
}

/** Texts that firmware has in place of nothing. */
const NOTHING = /^(|-|unknown|none|not specified|not available|n\/a|default string|to be filled by o\.?e\.?m\.?|0)$/i;

/** The library's answers without its fillers, in our units. Pure. */
export function computeInventory(facts: HostFacts['identity'], raw: RawInventory): MachineInventory {
  const { machineID, systemUUID, bootID, kernelVersion, osImage } = facts;
  const { system, bios, cpu, memory } = raw;
  return {
    identity: { machineID, systemUUID, bootID, kernelVersion, osImage },
    system: told({
      manufacturer: text(system.manufacturer),
      model: text(system.model),
      version: text(system.version),
      serialNumber: text(system.serial),
      virtual: system.virtual,
      host: system.virtual ? text(system.virtualHost) : undefined,
    }),
    firmware: told({ vendor: text(bios.vendor), version: text(bios.version), releaseDate: text(bios.releaseDate) }),
    cpu: told({
      model: text(`${cpu.manufacturer} ${cpu.brand}`.trim()),
      sockets: cpu.processors || 1,
      cores: cpu.physicalCores,
      threads: cpu.cores,
      maxMHz: positive(Math.round((cpu.speedMax || cpu.speed) * 1000)),
    }),
    memory: {
      totalBytes: memory.total,
      swapBytes: memory.swaptotal,
      // Where firmware tells of no modules the library makes one up.
      modules: raw.modules
        .filter(({ bank, type, formFactor }) => [bank, type, formFactor].some((one) => text(one)))
        .map(({ size, type, bank, clockSpeed }) =>
          told({ sizeBytes: size, type: text(type), slot: text(bank), MHz: positive(clockSpeed) }),
        ),
    },
    disks: raw.disks.map(({ device, name, type, size, interfaceType }) =>
      told({ device, model: text(name), type: text(type), sizeBytes: size, bus: text(interfaceType) }),
    ),
    network: raw.network
      .filter(({ internal, virtual }) => !internal && !virtual)
      .map(({ iface, mac, speed, operstate }) =>
        told({ name: iface, mac, speedMbps: positive(speed), state: operstate }),
      ),
  };
}

function text(value: string | null | undefined): string | undefined {
  const trimmed = value?.trim() ?? '';
  return NOTHING.test(trimmed) ? undefined : trimmed;
}

function positive(value: number | null | undefined): number | undefined {
  return value && value > 0 ? value : undefined;
}

/** Without what is undefined. */
function told<T extends object>(parts: { [Name in keyof T]: T[Name] | undefined }): T {
  return Object.fromEntries(Object.entries(parts).filter(([, value]) => value !== undefined)) as T;
}
