/**
 * The node's own table of the pods' bridge: what a pod says of itself as a router is heard neither by the host nor by other pods
 * (CVE-2020-10749), whatever their accept_ra is. Frames on a bridge come by here whether br_netfilter is there or not. An uplink that is
 * a port of the same bridge may have a router behind it.
 */
import { type MarkedChain, markedRule } from './marked-table.ts';

export const BRIDGE_GUARD_TABLE = { family: 'bridge', name: 'berth' } as const;

/** The chains with their rules. */
export function computeBridgeGuardChains(bridge: string): MarkedChain[] {
  const fromPod = `meta ibrname "${bridge}" iifname "veth*"`;
  const rules = [markedRule(`${fromPod} icmpv6 type nd-router-advert counter drop`, 'pods are no routers')];
  return (['input', 'forward'] as const).map((hook) => ({ name: hook, type: 'filter', hook, priority: 0, rules }));
}
