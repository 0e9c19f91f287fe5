import { openRtnetlink } from '../../src/linux/netlink/rtnetlink.ts';
import { createNft } from '../../src/netfilter/nft.ts';
import { createMasquerade, type MasqueradeBackend } from '../masquerade/masquerade.ts';
import { type BridgeConfig, createBridgePlugin } from '../plugins/bridge.ts';
import { loopback } from '../plugins/loopback.ts';
import { createMacSpoofCheck } from '../plugins/mac-spoof-check.ts';
import { createPtpPlugin, type PtpConfig } from '../plugins/ptp.ts';
import { CNI_ERROR, CniError } from '../types.ts';
import type { ProgramPlugin } from '../wire/call.ts';
import { type Fields, readFields } from '../wire/fields.ts';
import type { NetConf } from '../wire/net-conf.ts';
import type { PluginDependencies } from './dependencies.ts';
import { createIpamByName } from './ipam.ts';
import { linkConfigOf } from './links.ts';
import { wantedMac } from './mac.ts';
import { parseVlans } from './vlans.ts';

export const loopbackProgram: ProgramPlugin<Record<string, never>> = {
  type: 'loopback',
  parse: () => ({}),
  open: () => ({ plugin: loopback, close() {} }),
};

export function bridgeProgram(deps: PluginDependencies): ProgramPlugin<BridgeConfig<NetConf>> {
  return {
    type: 'bridge',
    parse: parseBridge,
    open(context) {
      const { hostNetns, run, sleep } = deps;
      const host = openRtnetlink(hostNetns);
      const plugin = createBridgePlugin({
        ipam: createIpamByName(deps, context),
        host,
        hostNetns,
        sleep,
        masquerade: createMasquerade({ run, netns: hostNetns }),
        macSpoofCheck: createMacSpoofCheck(createNft({ run, netns: hostNetns })),
        detachesOthers: true,
      });
      return { plugin, close: () => host.close() };
    },
  };
}

function parseBridge(conf: NetConf, args: Readonly<Record<string, string>>): BridgeConfig<NetConf> {
  const fields = readFields(conf.raw);
  const config: BridgeConfig<NetConf> = {
    ...linkConfigOf(conf),
    bridge: fields.linkName('bridge', 'cni0'),
    isGateway: fields.flag('isGateway'),
    isDefaultGateway: fields.flag('isDefaultGateway'),
    forceAddress: fields.flag('forceAddress'),
    hairpinMode: fields.flag('hairpinMode'),
    mtu: fields.mtu(),
    mac: bridgeMac(conf, fields, args),
    promiscuous: fields.flag('promiscMode'),
    vlans: parseVlans(fields),
    macSpoofCheck: fields.flag('macspoofchk'),
    duplicateDetection: fields.flag('enabledad'),
    disableContainerInterface: fields.flag('disableContainerInterface'),
    portIsolation: fields.flag('portIsolation'),
    masquerade: masqueradeOf(fields),
  };
  if (config.hairpinMode && config.promiscuous)
    throw invalid('cannot set hairpin mode and promiscuous mode at the same time', 'hairpinMode, promiscMode');
  if (config.ipam && config.disableContainerInterface)
    throw invalid('cannot use IPAM when DisableContainerInterface flag is set', 'disableContainerInterface, ipam');
  return config;
}

export function ptpProgram(deps: PluginDependencies): ProgramPlugin<PtpConfig<NetConf>> {
  return {
    type: 'ptp',
    parse(conf) {
      const { network, ipam, dns } = linkConfigOf(conf);
      if (!ipam) throw invalid('ptp: ipam.type is missing: the interface requires an IPAM configuration', 'ipam');
      const fields = readFields(conf.raw);
      return { network, ipam, dns, mtu: fields.mtu(), masquerade: masqueradeOf(fields) };
    },
    open(context) {
      const { hostNetns, run } = deps;
      const host = openRtnetlink(hostNetns);
      const masquerade = createMasquerade({ run, netns: hostNetns });
      const ipam = createIpamByName(deps, context);
      return { plugin: createPtpPlugin({ ipam, host, hostNetns, masquerade }), close: () => host.close() };
    },
  };
}

/** The runtime's word above the network's arguments (`args.cni.mac`), above those of the call (CNI_ARGS). */
function bridgeMac(conf: NetConf, fields: Fields, args: Readonly<Record<string, string>>): string | undefined {
  const offered = fields.section('args').section('cni').text('mac');
  return wantedMac(conf, offered ? { ...args, MAC: offered } : args, '');
}

const BACKENDS: readonly string[] = ['iptables', 'nftables'] satisfies MasqueradeBackend[];

function masqueradeOf(fields: Fields): MasqueradeBackend | undefined {
  const backend = fields.text('ipMasqBackend');
  if (backend !== '' && !BACKENDS.includes(backend))
    throw invalid(`unknown ipmasq backend ${JSON.stringify(backend)}`, `ipMasqBackend is ${BACKENDS.join(' or ')}`);
  return fields.flag('ipMasq') ? ((backend || 'auto') as MasqueradeBackend) : undefined;
}

const invalid = (message: string, details: string) =>
  new CniError(CNI_ERROR.invalidNetworkConfig, message, { details });
