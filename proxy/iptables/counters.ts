import type { Nfacct } from '../../src/netfilter/nfacct.ts';
import { Counter, type Registry } from '../../src/runtime/metrics.ts';
import type { NodeRenderOptions } from '../mode.ts';
import type { RenderOptions } from './shared-chains.ts';

/** The kernel's counters that rules add to, under kube-proxy's names. */
export const COUNTER = {
  invalid: 'ct_state_invalid_dropped_pkts',
  localhostNodePorts: 'localhost_nps_accepted_pkts',
} as const;

/** Makes the counters that the rules of a node can have, and says which rules may name; a kernel without nfacct has none. */
export async function ensureCounters(
  nfacct: Nfacct,
  node: NodeRenderOptions,
): Promise<Pick<RenderOptions, 'invalidPacketCounter' | 'localhostNodePortCounter'>> {
  const has = async (isWanted: boolean, name: string) => (isWanted && (await nfacct.ensure(name)) ? name : undefined);
  return {
    invalidPacketCounter: await has(!node.conntrackTcpBeLiberal, COUNTER.invalid),
    localhostNodePortCounter: await has(node.localhostNodePorts, COUNTER.localhostNodePorts),
  };
}

/** kube-proxy's metrics of them, read from the kernel when somebody asks. */
export function registerCounterMetrics(nfacct: Nfacct, registry: Registry): void {
  for (const [name, help, counter] of [
    ['ct_state_invalid_dropped', 'Packets dropped because conntrack called them INVALID', COUNTER.invalid],
    ['localhost_nodeports_accepted', 'Packets accepted for NodePorts at localhost', COUNTER.localhostNodePorts],
  ] as const)
    new Counter({
      name: `kubeproxy_iptables_${name}_packets_total`,
      help,
      registers: [registry],
      async collect() {
        const packets = await nfacct.packets(counter);
        if (packets === undefined) return;
        this.reset();
        this.inc(Number(packets));
      },
    });
}
