import { openNftSocket } from '../../src/netfilter/nfnetlink/socket.ts';
import { createFilterRules } from '../firewall/filter-rules.ts';
import { createFirewalld } from '../firewall/firewalld.ts';
import { createFirewallRecords } from '../firewall/records.ts';
import { createFirewall, type FirewallConfig, hostAddresses } from '../plugins/firewall.ts';
import { CNI_ERROR, CniError } from '../types.ts';
import type { ProgramPlugin } from '../wire/call.ts';
import { readFields } from '../wire/fields.ts';
import type { NetConf } from '../wire/net-conf.ts';
import { parseVersion } from '../wire/versions.ts';
import type { PluginDependencies } from './dependencies.ts';

export function firewallProgram(deps: PluginDependencies): ProgramPlugin<FirewallConfig> {
  return {
    type: 'firewall',
    parse: parseFirewall,
    open() {
      const socket = openNftSocket(deps.hostNetns);
      const plugin = createFirewall({
        filter: createFilterRules({ run: deps.run, socket, hostNetns: deps.hostNetns }),
        firewalld: createFirewalld(deps.systemBus),
        records: createFirewallRecords(),
      });
      return { plugin, close: () => socket.close() };
    },
  };
}

function parseFirewall(conf: NetConf): FirewallConfig {
  parseVersion(conf.cniVersion, '0.4.0');
  const fields = readFields(conf.raw);
  const oneOf = <T extends string>(key: string, accepted: readonly T[]): T | undefined => {
    const value = fields.text(key);
    if (value === '' || accepted.includes(value as T)) return (value || undefined) as T | undefined;
    throw new CniError(
      CNI_ERROR.invalidNetworkConfig,
      `firewall: ${key}: ${JSON.stringify(value)} is not ${accepted.join(' or ')}`,
    );
  };
  const adminChain = fields.text('iptablesAdminChainName') || 'CNI-ADMIN';
  if (!/^[^\s"'!-][^\s"']{0,27}$/.test(adminChain))
    throw new CniError(
      CNI_ERROR.invalidNetworkConfig,
      `firewall: iptablesAdminChainName: ${JSON.stringify(adminChain)} is no chain's name (up to 28 characters)`,
    );
  return {
    network: conf.name,
    backend: oneOf('backend', ['iptables', 'firewalld']),
    adminChain,
    zone: fields.text('firewalldZone') || 'trusted',
    policy: oneOf('ingressPolicy', ['open', 'same-bridge', 'isolated']) ?? 'open',
    addresses: conf.prevResult ? hostAddresses(conf.prevResult) : [],
  };
}
