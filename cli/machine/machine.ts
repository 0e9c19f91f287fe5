import { stringify } from 'yaml';
import { readHostFacts } from '../../agent/node/host-facts.ts';
import { formatBytes } from '../../src/kube/quantity.ts';
import { UserError } from '../output/failure.ts';
import { renderTable } from '../output/table.ts';
import { computeInventory, type MachineInventory } from './inventory.ts';

/** `berth machine`: what this machine is made of. Asked for by people, so the library (15 MB, and it starts programs) is loaded here alone. */
export async function machine(options: { output?: string }): Promise<void> {
  if (options.output !== undefined && options.output !== 'json' && options.output !== 'yaml')
    throw new UserError(`-o ${options.output}: json or yaml`, 2);
  const inventory = await readInventory();
  if (options.output === 'json') process.stdout.write(`${JSON.stringify(inventory, null, 2)}\n`);
  else if (options.output === 'yaml') process.stdout.write(stringify(inventory));
  else process.stdout.write(`${renderInventory(inventory)}\n`);
}

async function readInventory(): Promise<MachineInventory> {
  const { default: si } = await import('systeminformation');
  const [facts, system, bios, cpu, memory, modules, disks, network] = await Promise.all([
    readHostFacts('/'),
    si.system(),
    si.bios(),
    si.cpu(),
    si.mem(),
    si.memLayout(),
    si.diskLayout(),
    si.networkInterfaces(),
  ]);
  const interfaces = Array.isArray(network) ? network : [network];
  return computeInventory(facts.identity, { system, bios, cpu, memory, modules, disks, network: interfaces });
}

/** For people: a line a part; what the machine does not tell is a dash. */
export function renderInventory({ identity, system, firmware, cpu, memory, disks, network }: MachineInventory): string {
  const words = (...parts: (string | undefined | false)[]) => parts.filter(Boolean).join(' ') || '-';
  return renderTable(
    ['PART', 'WHAT'],
    [
      [
        'system',
        words(system.manufacturer, system.model, system.version, system.virtual && `(virtual ${system.host ?? ''})`),
      ],
      ['serial number', words(system.serialNumber)],
      ['firmware', words(firmware.vendor, firmware.version, firmware.releaseDate)],
      ['operating system', words(identity.osImage, identity.kernelVersion)],
      ['machine ID', words(identity.machineID)],
      ['system UUID', words(identity.systemUUID)],
      ['boot ID', words(identity.bootID)],
      ['cpu', `${cpu.model ?? '-'}: ${cpu.sockets} sockets, ${cpu.cores} cores, ${cpu.threads} threads`],
      ['memory', `${round(memory.totalBytes)}, swap ${round(memory.swapBytes)}`],
      ...memory.modules.map(({ sizeBytes, type, slot }) => ['memory module', words(round(sizeBytes), type, slot)]),
      ...disks.map(({ device, model, type, sizeBytes, bus }) => [
        'disk',
        words(device, round(sizeBytes), model, type, bus),
      ]),
      ...network.map(({ name, mac, speedMbps, state }) => [
        'network',
        words(name, mac, speedMbps !== undefined && `${speedMbps} Mbit/s`, state),
      ]),
    ],
  );
}

/** Whole Mi are exact enough for people. */
function round(bytes: number): string {
  return formatBytes(bytes < 2 ** 20 ? bytes : Math.round(bytes / 2 ** 20) * 2 ** 20);
}
