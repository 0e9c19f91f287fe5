import { boolean, type ConfigOf, choice, deferred, integer, list, text } from '../../../src/config/field.ts';
import type { Refuse } from '../../../src/config/load.ts';

/** Pods' DNS and what iptables rules need. */
export const dnsFields = {
  clusterDomain: text(),
  clusterDNS: list(),
  resolvConf: text('/etc/resolv.conf'),
  hairpinMode: deferred(choice('promiscuous-bridge', ['promiscuous-bridge', 'hairpin-veth', 'none'])),
  makeIPTablesUtilChains: deferred(boolean(true)),
  iptablesMasqueradeBit: deferred(integer(14, { max: 31 })),
  iptablesDropBit: deferred(integer(15, { max: 31 })),
};

export function validateDns(config: ConfigOf<typeof dnsFields>, refuse: Refuse): void {
  if (config.clusterDNS.length > 3) refuse('clusterDNS', config.clusterDNS, 'at most 3 addresses (resolv.conf)');
}
