import type { ServiceState } from '../state/model.ts';
import type { ServicePortRules } from './service-rules.ts';

/** Sums over all services, kept up to date by what changes. */
export interface Totals {
  endpoints: number;
  /** Rules that services bring, by table. */
  filter: number;
  nat: number;
  /** Service ports whose traffic policy leaves them without an endpoint on this node. */
  withoutInternal: number;
  withoutExternal: number;
}

export function noTotals(): Totals {
  return { endpoints: 0, filter: 0, nat: 0, withoutInternal: 0, withoutExternal: 0 };
}

/** Adds a service's rules to the sums, or takes them away again. */
export function countRules(totals: Totals, ports: readonly ServicePortRules[], sign: 1 | -1): void {
  for (const { lines, chains, withoutLocalEndpoints } of ports) {
    for (const [chain, rules] of lines) totals[chain.startsWith('nat') ? 'nat' : 'filter'] += sign * rules.length;
    for (const [, rules] of chains) totals.nat += sign * rules.length;
    if (withoutLocalEndpoints.internal) totals.withoutInternal += sign;
    if (withoutLocalEndpoints.external) totals.withoutExternal += sign;
  }
}

export function countEndpoints(state: ServiceState | undefined): number {
  return state?.ports.reduce((sum, { endpoints }) => sum + endpoints.length, 0) ?? 0;
}
