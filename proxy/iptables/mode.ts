import { createIptables } from '../../src/netfilter/iptables.ts';
import type { IpFamily } from '../../src/netfilter/tables.ts';
import type { ModeDependencies, ProxyMode } from '../mode.ts';
import { ROUTE_LOCALNET } from '../sysctls.ts';
import { removeProxyRules } from './cleanup.ts';
import { createIptablesProxier } from './proxier.ts';

/** Rules of iptables, in kube-proxy's chains. */
export function createIptablesMode(deps: ModeDependencies): ProxyMode {
  const iptablesOf = (family: IpFamily) => createIptables({ family, run: deps.run, netns: deps.netns });
  return {
    name: 'iptables',
    async usable(family) {
      try {
        await iptablesOf(family).save('nat');
        return undefined;
      } catch (error) {
        return (error as Error).message;
      }
    },
    proxier: (family) => createIptablesProxier(iptablesOf(family)),
    async cleanup(family, successor) {
      await removeProxyRules(iptablesOf(family), undefined, successor);
    },
    // Only now that KUBE-FIREWALL stands.
    sysctlsAfterSync: (family, node) => (family === 'IPv4' && node.localhostNodePorts ? [ROUTE_LOCALNET] : []),
  };
}
