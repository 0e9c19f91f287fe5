import { readdirSync, readlinkSync, statSync } from 'node:fs';
import { basename, join, posix } from 'node:path';
import type { Link } from '../../src/linux/netlink/links.ts';
import type { Rtnetlink } from '../../src/linux/netlink/rtnetlink.ts';
import { CNI_ERROR, CniError } from '../types.ts';

/** What says which device of the host is meant: the first that is said counts. */
export interface DeviceSelector {
  /** Its name. */
  device: string;
  /** Its MAC, in lower case. */
  mac: string;
  /** Its folder below /sys/devices. */
  kernelPath: string;
  /** `0000:00:1f.6`. */
  pciAddress: string;
  /** The runtime's word (capability `deviceID`), in place of the PCI address: of the PCI or the auxiliary bus (`mlx5_core.sf.4`). */
  deviceId: string;
}

/** Drivers that give a device to a program instead of the kernel's network: it has no interface then. */
const USERSPACE_DRIVERS = ['vfio-pci', 'uio_pci_generic', 'igb_uio'];

/**
 * Whether the device is driven by a program (DPDK): then there is no interface to move.
 * @throws CniError 7 for a PCI device that is not there or that nothing drives, and for a device id that no bus has.
 */
export function hasUserspaceDriver(selector: DeviceSelector, sys = '/sys'): boolean {
  const { pciAddress } = onBus(selector, sys);
  if (pciAddress === '') return false;
  try {
    return USERSPACE_DRIVERS.includes(basename(readlinkSync(join(sys, 'bus/pci/devices', pciAddress, 'driver'))));
  } catch (cause) {
    throw notFound(`PCI device ${pciAddress} is not there or has no driver`, cause);
  }
}

function onBus({ deviceId, pciAddress }: DeviceSelector, sys: string): { pciAddress: string; auxiliaryDevice: string } {
  if (deviceId === '') return { pciAddress, auxiliaryDevice: '' };
  const isOn = (bus: string) =>
    !deviceId.includes('/') && statSync(join(sys, 'bus', bus, 'devices', deviceId), { throwIfNoEntry: false });
  if (isOn('pci')) return { pciAddress: deviceId, auxiliaryDevice: '' };
  if (isOn('auxiliary')) return { pciAddress: '', auxiliaryDevice: deviceId };
  throw notFound(`runtime config DeviceID ${deviceId} not found or unsupported`);
}

/** The link that is meant, in the host's namespace. @throws CniError 7 saying what was looked for, and where. */
export async function findHostDevice(host: Rtnetlink, selector: DeviceSelector, sys = '/sys'): Promise<Link> {
  const { device, mac } = selector;
  if (device !== '') return (await host.getLink(device)) ?? raise(`there is no link ${JSON.stringify(device)}`);
  if (mac !== '')
    return (await host.listLinks()).find((link) => link.mac === mac) ?? raise(`no link has the MAC ${mac}`);
  const folder = folderOf(selector, sys);
  const names = readNames(folder);
  if (names.length === 0) throw notFound(`there is no network device in ${folder}`);
  return (await host.getLink(names[0]!)) ?? raise(`${names[0]} of ${folder} is not in the host's namespace`);
}

function folderOf(selector: DeviceSelector, sys: string): string {
  const { kernelPath } = selector;
  if (kernelPath !== '') {
    const path = posix.normalize(kernelPath);
    if (!path.startsWith('/sys/devices/'))
      throw notFound(`kernel device path ${JSON.stringify(kernelPath)} must be absolute and begin with /sys/devices/`);
    return join(sys, path.slice('/sys'.length), 'net');
  }
  const { pciAddress, auxiliaryDevice } = onBus(selector, sys);
  if (auxiliaryDevice !== '') return join(sys, 'bus/auxiliary/devices', auxiliaryDevice, 'net');
  const device = join(sys, 'bus/pci/devices', pciAddress);
  const own = readNames(device);
  if (own.includes('net')) return join(device, 'net');
  // A virtio device is one below its PCI device.
  const virtio = own.find((name) => name.startsWith('virtio'));
  return virtio === undefined ? join(device, 'net') : join(device, virtio, 'net');
}

function readNames(folder: string): string[] {
  try {
    return readdirSync(folder).toSorted();
  } catch (cause) {
    throw notFound(`failed to read directory ${folder}`, cause);
  }
}

function raise(what: string): never {
  throw notFound(what);
}

function notFound(what: string, cause?: unknown): CniError {
  return new CniError(CNI_ERROR.invalidNetworkConfig, `failed to find host device: ${what}`, { cause });
}
