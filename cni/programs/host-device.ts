import { openRtnetlink } from '../../src/linux/netlink/rtnetlink.ts';
import { createHostDevicePlugin, type HostDeviceConfig } from '../plugins/host-device.ts';
import type { DeviceSelector } from '../plugins/host-device-search.ts';
import { CNI_ERROR, CniError } from '../types.ts';
import type { ProgramPlugin } from '../wire/call.ts';
import { readFields } from '../wire/fields.ts';
import type { NetConf } from '../wire/net-conf.ts';
import type { PluginDependencies } from './dependencies.ts';
import { createIpamByName } from './ipam.ts';
import { linkConfigOf } from './links.ts';
import { parseConfiguredMac } from './mac.ts';

export function hostDeviceProgram(deps: PluginDependencies): ProgramPlugin<HostDeviceConfig<NetConf>> {
  return {
    type: 'host-device',
    parse(conf) {
      const { ipam, ipamUsesLink, dns } = linkConfigOf(conf);
      return { selector: parseSelector(conf), ipam, ipamUsesLink, dns };
    },
    open(context) {
      const { hostNetns } = deps;
      const host = openRtnetlink(hostNetns);
      const plugin = createHostDevicePlugin({ host, hostNetns, ipam: createIpamByName(deps, context) });
      return { plugin, close: () => host.close() };
    },
  };
}

function parseSelector(conf: NetConf): DeviceSelector {
  const fields = readFields(conf.raw);
  const hwaddr = fields.text('hwaddr');
  const selector = {
    device: fields.linkName('device'),
    mac: hwaddr === '' ? '' : parseConfiguredMac('hwaddr', hwaddr),
    kernelPath: fields.text('kernelpath'),
    pciAddress: fields.text('pciBusID'),
    deviceId: readFields(conf.runtimeConfig).text('deviceID'),
  };
  if (Object.values(selector).every((value) => value === ''))
    throw new CniError(CNI_ERROR.invalidNetworkConfig, 'specify either "device", "hwaddr", "kernelpath" or "pciBusID"');
  return selector;
}
