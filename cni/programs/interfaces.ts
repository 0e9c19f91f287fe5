import { openRtnetlink } from '../../src/linux/netlink/rtnetlink.ts';
import { type BridgeConfig, createBridgePlugin } from '../plugins/bridge.ts';
import { loopback } from '../plugins/loopback.ts';
import { CNI_ERROR, CniError } from '../types.ts';
import type { ProgramPlugin } from '../wire/call.ts';
import { readFields, refuseKeys } from '../wire/fields.ts';
import type { NetConf } from '../wire/net-conf.ts';
import type { PluginDependencies } from './dependencies.ts';
import { createIpamByName } from './ipam.ts';

export const loopbackProgram: ProgramPlugin<Record<string, never>> = {
  type: 'loopback',
  parse: () => ({}),
  open: () => ({ plugin: loopback, close() {} }),
};

/** Of the reference plugin's keys, those that ours does not have. */
const BRIDGE_REFUSED = [
  'ipMasq',
  'promiscMode',
  'vlan',
  'vlanTrunk',
  'preserveDefaultVlan',
  'macspoofchk',
  'enabledad',
  'disableContainerInterface',
  'portIsolation',
];

export function bridgeProgram(deps: PluginDependencies): ProgramPlugin<BridgeConfig<NetConf>> {
  return {
    type: 'bridge',
    parse(conf) {
      refuseKeys(conf.raw, 'bridge', BRIDGE_REFUSED);
      if (!conf.ipam.type)
        throw new CniError(
          CNI_ERROR.unsupportedField,
          'bridge: a network without addresses (ipam: {}) is not supported',
        );
      const fields = readFields(conf.raw);
      return {
        network: conf.name,
        bridge: fields.text('bridge') || 'cni0',
        isGateway: fields.flag('isGateway'),
        isDefaultGateway: fields.flag('isDefaultGateway'),
        forceAddress: fields.flag('forceAddress'),
        hairpinMode: fields.flag('hairpinMode'),
        mtu: fields.count('mtu') || undefined,
        ipam: conf,
      };
    },
    open(context) {
      const { hostNetns } = deps;
      const host = openRtnetlink(hostNetns);
      const ipam = createIpamByName(deps, context);
      return {
        plugin: createBridgePlugin({ ipam, host, hostNetns, detachesOthers: true }),
        close: () => host.close(),
      };
    },
  };
}
