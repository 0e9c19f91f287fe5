import { createIptables } from '../../src/netfilter/iptables.ts';
import { createNfacct } from '../../src/netfilter/nfacct.ts';
import type { IpFamily } from '../../src/netfilter/tables.ts';
import type { ModeDependencies, ProxyMode } from '../mode.ts';
import { ROUTE_LOCALNET } from '../sysctls.ts';
import { removeProxyRules } from './cleanup.ts';
import { COUNTER, registerCounterMetrics } from './counters.ts';
import { createIptablesProxier, isLargeCluster } from './proxier.ts';
import { createTamperWatch } from './tamper-watch.ts';
import { renderIptablesText } from './text.ts';

/** Rules of iptables, in kube-proxy's chains. */
export function createIptablesMode(deps: ModeDependencies): ProxyMode {
  const iptablesOf = (family: IpFamily) => createIptables({ family, run: deps.run, netns: deps.netns });
  const nfacct = createNfacct(deps.netns);
  const watch = createTamperWatch({ netns: deps.netns, clock: deps.clock });
  let hasMetrics = false;
  return {
    name: 'iptables',
    async usable(family) {
      try {
        // kube-proxy's own question: one chain, whatever the number of rules that stand.
        await iptablesOf(family).chainExists('nat', 'POSTROUTING');
        return undefined;
      } catch (error) {
        return (error as Error).message;
      }
    },
    proxier(family) {
      // Both families count into the same counters.
      if (!hasMetrics) registerCounterMetrics(nfacct, deps.metrics);
      hasMetrics = true;
      return createIptablesProxier(iptablesOf(family), { nfacct, watch });
    },
    async cleanup(family, successor) {
      await removeProxyRules(iptablesOf(family), undefined, successor);
      for (const name of Object.values(COUNTER)) await nfacct.remove(name);
    },
    async renderText(snapshot, node) {
      const exists = async (name: string) => ((await nfacct.packets(name)) === undefined ? undefined : name);
      return renderIptablesText(snapshot, {
        ...node,
        isLargeCluster: isLargeCluster(snapshot),
        hasRandomFully: await iptablesOf(snapshot.family).hasRandomFully(),
        invalidPacketCounter: await exists(COUNTER.invalid),
        localhostNodePortCounter: node.localhostNodePorts ? await exists(COUNTER.localhostNodePorts) : undefined,
      });
    },
    // Only now that KUBE-FIREWALL stands.
    sysctlsAfterSync: (family, node) => (family === 'IPv4' && node.localhostNodePorts ? [ROUTE_LOCALNET] : []),
  };
}
