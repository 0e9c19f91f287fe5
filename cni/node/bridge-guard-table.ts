/**
 * The node's own table of the pods' bridge: what a pod says of itself as a router is heard neither by the host nor by other pods
 * (CVE-2020-10749), whatever their accept_ra is. Between pods as far as bridged frames come by nf_tables, for which the node has
 * br_netfilter; under it they seem to come from the bridge.
 */
import { type MarkedChain, markedRule } from './marked-table.ts';

export const BRIDGE_GUARD_TABLE = { family: 'inet', name: 'berth-bridge' } as const;

/** The chains with their rules. */
export function computeBridgeGuardChains(bridge: string): MarkedChain[] {
  const rules = [markedRule(`iifname "${bridge}" icmpv6 type nd-router-advert counter drop`, 'pods are no routers')];
  return (['input', 'forward'] as const).map((hook) => ({ name: hook, type: 'filter', hook, priority: -1, rules }));
}
