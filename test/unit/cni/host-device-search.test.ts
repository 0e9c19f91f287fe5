import { mkdirSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { type DeviceSelector, findHostDevice, hasUserspaceDriver } from '../../../cni/plugins/host-device-search.ts';
import type { Link } from '../../../src/linux/netlink/links.ts';
import type { Rtnetlink } from '../../../src/linux/netlink/rtnetlink.ts';

const NONE: DeviceSelector = { device: '', mac: '', kernelPath: '', pciAddress: '', deviceId: '' };
const links = ['eth1', 'ens2f0', 'virt0', 'sf0'].map(
  (name, index) => ({ name, index, mac: `0a:00:00:00:00:0${index}` }) as Link,
);
const host = {
  getLink: async (name: string | number) => links.find((link) => link.name === name),
  listLinks: async () => links,
} as unknown as Rtnetlink;

/** A piece of /sys: a network card, a virtio one, one that a program drives, one without driver, and one of the auxiliary bus. */
function makeSys(t: ExecutionContext): string {
  const sys = mkdtempSync(join(tmpdir(), 'berth-sys-'));
  t.teardown(() => rmSync(sys, { recursive: true }));
  for (const path of [
    'bus/pci/drivers/ixgbe',
    'bus/pci/drivers/vfio-pci',
    'bus/pci/devices/0000:02:00.0/net/ens2f0',
    'bus/pci/devices/0000:00:03.0/virtio1/net/virt0',
    'bus/pci/devices/0000:04:00.0',
    'bus/pci/devices/0000:05:00.0',
    'bus/auxiliary/devices/mlx5_core.sf.4/net/sf0',
    'devices/pci0000:00/0000:00:19.0/net/eth1',
    'devices/empty/net',
  ])
    mkdirSync(join(sys, path), { recursive: true });
  for (const [device, driver] of [
    ['0000:02:00.0', 'ixgbe'],
    ['0000:00:03.0', 'ixgbe'],
    ['0000:04:00.0', 'vfio-pci'],
  ])
    symlinkSync(`../../drivers/${driver}`, join(sys, 'bus/pci/devices', device!, 'driver'));
  return sys;
}

test('a device is found by name, MAC, kernel path, PCI address, virtio below it, and by the runtime’s id', async (t) => {
  const sys = makeSys(t);
  for (const [selector, name] of [
    [{ device: 'eth1' }, 'eth1'],
    [{ mac: '0a:00:00:00:00:02' }, 'virt0'],
    [{ kernelPath: '/sys/devices/pci0000:00/0000:00:19.0' }, 'eth1'],
    [{ pciAddress: '0000:02:00.0' }, 'ens2f0'],
    [{ pciAddress: '0000:00:03.0' }, 'virt0'],
    [{ deviceId: '0000:02:00.0', pciAddress: '0000:00:03.0' }, 'ens2f0'],
    [{ deviceId: 'mlx5_core.sf.4' }, 'sf0'],
  ] as const)
    t.is((await findHostDevice(host, { ...NONE, ...selector }, sys)).name, name, JSON.stringify(selector));
});

test('what is not there is told with the place that was looked at', async (t) => {
  const sys = makeSys(t);
  for (const [selector, message] of [
    [{ device: 'none' }, /no link "none"/],
    [{ mac: '0a:00:00:00:00:99' }, /no link has the MAC/],
    [{ kernelPath: '/etc' }, /must be absolute and begin with \/sys\/devices/],
    [{ kernelPath: '/sys/devices/../../etc' }, /must be absolute/],
    [{ kernelPath: '/sys/devices/empty' }, /no network device in/],
    [{ pciAddress: '0000:99:00.0' }, /failed to read directory/],
    [{ deviceId: 'nobody' }, /DeviceID nobody not found or unsupported/],
    [{ deviceId: '../../../etc' }, /not found or unsupported/],
  ] as const)
    await t.throwsAsync(findHostDevice(host, { ...NONE, ...selector }, sys), { message }, JSON.stringify(selector));
});

test('a device that a program drives has no interface', (t) => {
  const sys = makeSys(t);
  const driven = (selector: Partial<DeviceSelector>) => hasUserspaceDriver({ ...NONE, ...selector }, sys);
  t.true(driven({ pciAddress: '0000:04:00.0' }));
  t.true(driven({ deviceId: '0000:04:00.0' }));
  t.false(driven({ pciAddress: '0000:02:00.0' }));
  t.false(driven({ device: 'eth1' }));
  t.false(driven({ deviceId: 'mlx5_core.sf.4' }));
  t.throws(() => driven({ pciAddress: '0000:05:00.0' }), { message: /not there or has no driver/ });
});
