import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import test from 'ava';
import { computeInventory, type RawInventory } from '../../../cli/machine/inventory.ts';
import { renderInventory } from '../../../cli/machine/machine.ts';

const identity = {
  machineID: 'm1',
  systemUUID: 'u1',
  bootID: 'b1',
  kernelVersion: '6.1',
  osImage: 'Debian GNU/Linux 12 (bookworm)',
  kubeProxyVersion: '',
  operatingSystem: 'linux',
  architecture: 'amd64',
};
const server = {
  system: { manufacturer: 'ACME', model: 'R1', version: 'Not Specified', serial: 'S-1', virtual: false },
  bios: { vendor: 'ACME', version: '1.2', releaseDate: '2025-01-02' },
  cpu: {
    manufacturer: 'AMD',
    brand: 'EPYC 9354',
    processors: 2,
    physicalCores: 64,
    cores: 128,
    speed: 3.25,
    speedMax: 3.8,
  },
  memory: { total: 2 ** 38, swaptotal: 0 },
  modules: [
    { size: 2 ** 35, bank: 'P0 A', type: 'DDR5', formFactor: 'DIMM', clockSpeed: 4800 },
    { size: 0, bank: '', type: '', formFactor: '', clockSpeed: 0 },
  ],
  disks: [{ device: '/dev/nvme0n1', name: 'PM9A3', type: 'NVMe', size: 960e9, interfaceType: 'PCIe' }],
  network: [
    { iface: 'lo', mac: '', speed: null, operstate: 'unknown', internal: true, virtual: false },
    { iface: 'eth0', mac: '02:00:00:00:00:01', speed: 25_000, operstate: 'up', internal: false, virtual: false },
    { iface: 'cni0', mac: '02:00:00:00:00:02', speed: -1, operstate: 'up', internal: false, virtual: true },
  ],
} as unknown as RawInventory;

test('a server: fillers of the firmware are nothing, pods’ interfaces are not the machine’s', (t) => {
  const inventory = computeInventory(identity, server);
  t.deepEqual(inventory, {
    identity: {
      machineID: 'm1',
      systemUUID: 'u1',
      bootID: 'b1',
      kernelVersion: '6.1',
      osImage: 'Debian GNU/Linux 12 (bookworm)',
    },
    system: { manufacturer: 'ACME', model: 'R1', serialNumber: 'S-1', virtual: false },
    firmware: { vendor: 'ACME', version: '1.2', releaseDate: '2025-01-02' },
    cpu: { model: 'AMD EPYC 9354', sockets: 2, cores: 64, threads: 128, maxMHz: 3800 },
    memory: {
      totalBytes: 2 ** 38,
      swapBytes: 0,
      modules: [{ sizeBytes: 2 ** 35, type: 'DDR5', slot: 'P0 A', MHz: 4800 }],
    },
    disks: [{ device: '/dev/nvme0n1', model: 'PM9A3', type: 'NVMe', sizeBytes: 960e9, bus: 'PCIe' }],
    network: [{ name: 'eth0', mac: '02:00:00:00:00:01', speedMbps: 25_000, state: 'up' }],
  });
  const lines = renderInventory(inventory).split('\n');
  t.regex(lines[0]!, /^PART +WHAT$/);
  t.true(lines.some((line) => /^cpu +AMD EPYC 9354: 2 sockets, 64 cores, 128 threads$/.test(line)));
  t.true(lines.some((line) => /^memory +256Gi, swap 0$/.test(line)));
});

test('this machine, by the command', (t) => {
  const main = join(import.meta.dirname, '../../../cli/main.ts');
  const shown = JSON.parse(execFileSync(process.execPath, [main, 'machine', '-o', 'json'], { encoding: 'utf8' }));
  t.true(shown.cpu.threads >= 1 && shown.memory.totalBytes > 0);
  t.truthy(shown.identity.kernelVersion);
  const refused = t.throws(() => execFileSync(process.execPath, [main, 'machine', '-o', 'xml'], { stdio: 'pipe' }));
  t.regex(String((refused as unknown as { stderr: Buffer }).stderr), /-o xml: json or yaml/);
});
