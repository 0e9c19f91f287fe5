/** The configurations of the plugins that make one link in the container. */

import { IPVLAN_MODES, type IpvlanMode } from '../../src/linux/netlink/ipvlan.ts';
import { MACVLAN_MODES, type MacvlanMode } from '../../src/linux/netlink/macvlan.ts';
import { openRtnetlink } from '../../src/linux/netlink/rtnetlink.ts';
import type { ContainerLinkConfig, ContainerLinkDependencies } from '../plugins/container-link.ts';
import { createDummyPlugin } from '../plugins/dummy.ts';
import { createIpvlanPlugin, type IpvlanConfig } from '../plugins/ipvlan.ts';
import { createMacvlanPlugin, type MacvlanConfig } from '../plugins/macvlan.ts';
import type { MasterConfig } from '../plugins/master-link.ts';
import { createTapPlugin, type TapConfig } from '../plugins/tap.ts';
import { createVlanPlugin, type VlanConfig } from '../plugins/vlan.ts';
import { CNI_ERROR, CniError, type Plugin } from '../types.ts';
import type { ProgramPlugin } from '../wire/call.ts';
import { type Fields, readFields, refuseKeys } from '../wire/fields.ts';
import type { NetConf } from '../wire/net-conf.ts';
import type { PluginDependencies } from './dependencies.ts';
import { parseDns } from './dns.ts';
import { createIpamByName } from './ipam.ts';
import { wantedMac } from './mac.ts';

export function macvlanProgram(deps: PluginDependencies): ProgramPlugin<MacvlanConfig<NetConf>> {
  return {
    type: 'macvlan',
    parse(conf, args) {
      const fields = readFields(conf.raw);
      return {
        ...linkConfigOf(conf),
        ...masterOf(fields),
        mode: modeOf<MacvlanMode>('macvlan', fields, Object.keys(MACVLAN_MODES), 'bridge'),
        mac: wantedMac(conf, args, fields.text('mac')),
        broadcastQueueLength: fields.count('bcqueuelen') || undefined,
      };
    },
    open: opener(deps, createMacvlanPlugin),
  };
}

export function ipvlanProgram(deps: PluginDependencies): ProgramPlugin<IpvlanConfig<NetConf>> {
  return {
    type: 'ipvlan',
    parse(conf) {
      const fields = readFields(conf.raw);
      const mode = modeOf<IpvlanMode>('ipvlan', fields, Object.keys(IPVLAN_MODES), 'l2');
      return { ...linkConfigOf(conf), ...masterOf(fields), mode };
    },
    open: opener(deps, createIpvlanPlugin),
  };
}

const VLAN_ID_LIMIT = 4094;

export function vlanProgram(deps: PluginDependencies): ProgramPlugin<VlanConfig<NetConf>> {
  return {
    type: 'vlan',
    parse(conf) {
      const fields = readFields(conf.raw);
      const vlanId = fields.count('vlanId');
      if (vlanId > VLAN_ID_LIMIT)
        throw invalid(`invalid VLAN ID ${vlanId} (must be between 0 and ${VLAN_ID_LIMIT} inclusive)`);
      const master = masterOf(fields);
      if (master.master === undefined)
        throw invalid('"master" field is required. It specifies the host interface name to create the VLAN for');
      return { ...withAddresses('vlan', linkConfigOf(conf)), ...master, vlanId };
    },
    open: opener(deps, createVlanPlugin),
  };
}

export function dummyProgram(deps: PluginDependencies): ProgramPlugin<ContainerLinkConfig<NetConf>> {
  return {
    type: 'dummy',
    parse: (conf) => withAddresses('dummy', linkConfigOf(conf)),
    open: opener(deps, createDummyPlugin),
  };
}

export function tapProgram(deps: PluginDependencies): ProgramPlugin<TapConfig<NetConf>> {
  return {
    type: 'tap',
    parse(conf, args) {
      const fields = readFields(conf.raw);
      refuseKeys(conf.raw, 'tap', ['selinuxContext']);
      const id = (key: string) => (fields.raw[key] === undefined ? undefined : fields.count(key));
      return {
        ...linkConfigOf(conf),
        mtu: fields.mtu(),
        mac: wantedMac(conf, args, fields.text('mac')),
        multiQueue: fields.flag('multiQueue'),
        owner: id('owner'),
        group: id('group'),
        bridge: fields.linkName('bridge') || undefined,
      };
    },
    open: opener(deps, createTapPlugin),
  };
}

/** What all plugins that bring an interface read. */
export function linkConfigOf(conf: NetConf): ContainerLinkConfig<NetConf> {
  return {
    network: conf.name,
    ipam: conf.ipam.type ? conf : undefined,
    ipamUsesLink: !ASKS_NOBODY.has(conf.ipam.type ?? ''),
    dns: parseDns(readFields(conf.raw)),
  };
}

/** Address managers that look into files only. Any other may ask through the container's interface, as dhcp does. */
const ASKS_NOBODY = new Set(['', 'host-local', 'static']);

function withAddresses(type: string, config: ContainerLinkConfig<NetConf>): ContainerLinkConfig<NetConf> {
  if (config.ipam) return config;
  throw invalid(`${type}: ipam.type is missing: the interface requires an IPAM configuration`);
}

function masterOf(fields: Fields): MasterConfig {
  return {
    master: fields.linkName('master') || undefined,
    linkInContainer: fields.flag('linkInContainer'),
    mtu: fields.mtu(),
  };
}

function modeOf<Mode extends string>(type: string, fields: Fields, modes: string[], otherwise: Mode): Mode {
  const mode = fields.text('mode') || otherwise;
  if (modes.includes(mode)) return mode as Mode;
  throw invalid(`unknown ${type} mode: ${JSON.stringify(mode)}; there are ${modes.join(', ')}`);
}

/** Opens the host's route socket and the address managers for a plugin. */
export function opener<Config>(
  deps: PluginDependencies,
  create: (deps: ContainerLinkDependencies<NetConf>) => Plugin<Config>,
): ProgramPlugin<Config>['open'] {
  return (context) => {
    const host = openRtnetlink(deps.hostNetns);
    return { plugin: create({ host, ipam: createIpamByName(deps, context) }), close: () => host.close() };
  };
}

const invalid = (message: string) => new CniError(CNI_ERROR.invalidNetworkConfig, message);
