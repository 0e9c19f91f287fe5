import { formatPrefix, networkOf, parseIp, parsePrefix, prefixContains } from '../../src/linux/ip.ts';
import { defaultDestination, type Route, type RouteSpec } from '../../src/linux/netlink/routes.ts';
import type { Rule, RuleSpec } from '../../src/linux/netlink/rules.ts';
import type { CniIp } from '../types.ts';

export interface SourceRoutingOptions {
  /** Rules only, to this table, whose routes somebody else makes; undefined: a table of its own for each address, with the link's routes. */
  table: number | undefined;
  /** In place of those that the addresses came with; at most one of a family. */
  gateways: readonly string[];
  /** The subnets stay in the main table, with the address as source: for programs that do not say which address is theirs. */
  addSourceHints: boolean;
}

/** What is to be done, in this order: nothing is taken away before what stands in for it is there. */
export interface SourceRoutingPlan {
  /** Into tables of their own, or (hints) the main one. */
  replace: RouteSpec[];
  rules: RuleSpec[];
  /** From the main table. */
  remove: Route[];
}

const FIRST_TABLE = 100;
const TABLE_MAIN = 254;
const SCOPE_LINK = 253;

/**
 * Routing by source address: what a container sends from an address goes by the link that has it. Pure.
 * @param routes those of all tables in the container
 */
export function computeSourceRouting(
  ips: readonly CniIp[],
  linkIndex: number,
  have: { rules: readonly Rule[]; routes: readonly Route[] },
  options: SourceRoutingOptions,
): SourceRoutingPlan {
  if (options.table !== undefined)
    return { replace: [], rules: ips.map((ip) => ruleOf(ip, options.table!)), remove: [] };
  const ownRoutes = have.routes.filter(
    (route) => route.linkIndex === linkIndex && route.table === TABLE_MAIN && route.type === 'unicast',
  );
  const used = new Set([...have.rules, ...have.routes].map(({ table }) => table));
  const plan: SourceRoutingPlan = { replace: [], rules: [], remove: [] };
  for (const ip of ips) {
    const table = nextTable(used);
    plan.replace.push(...routesFor(ip, table, linkIndex, ownRoutes, options.gateways));
    plan.rules.push(ruleOf(ip, table));
    if (options.addSourceHints) plan.replace.push(hintOf(ip, linkIndex));
  }
  // Neighbour discovery needs the link-local subnet, whatever the source.
  const removable = ownRoutes.filter((route) => !isLinkLocal(route));
  plan.remove = options.addSourceHints ? removable.filter((route) => !isSubnet(route)) : removable;
  return plan;
}

/** The first from 100 on that no rule and no route has; it counts as used from then on. */
function nextTable(used: Set<number>): number {
  let table = FIRST_TABLE;
  while (used.has(table)) table++;
  used.add(table);
  return table;
}

/** Rules are for one address, never its whole subnet. */
export function ruleOf({ address }: Pick<CniIp, 'address'>, table: number): RuleSpec {
  const ip = address.split('/')[0]!;
  return { source: `${ip}/${ip.includes(':') ? 128 : 32}`, table };
}

function routesFor(
  { address, gateway }: CniIp,
  table: number,
  linkIndex: number,
  routes: readonly Route[],
  gateways: readonly string[],
): RouteSpec[] {
  const family = familyOf(address);
  const chosen = gateways.find((one) => familyOf(one) === family) ?? gateway;
  const subnet = parsePrefix(address);
  const isOf = (ip: string | undefined) => ip !== undefined && prefixContains(subnet, parseIp(ip));
  const copies = routes
    .filter((route) => route.family === family)
    .filter(({ source, gateway: by }) => isOf(source) || isOf(by) || (source === undefined && by === undefined))
    .map((route) => ({ ...route, table }));
  // Subnets before what goes by a gateway in them.
  const ordered = [...copies.filter((route) => !route.gateway), ...copies.filter((route) => route.gateway)];
  const byDefault = chosen ? [{ destination: defaultDestination(chosen), gateway: chosen, table, linkIndex }] : [];
  return [...byDefault, ...ordered];
}

function hintOf({ address }: CniIp, linkIndex: number): RouteSpec {
  const source = address.split('/')[0]!;
  const destination = formatPrefix(networkOf(parsePrefix(address)));
  return { destination, linkIndex, source, table: TABLE_MAIN, scope: SCOPE_LINK };
}

/** Of IPv6 the scope says nothing. */
const isSubnet = ({ scope, family, gateway }: Route) => (family === 4 ? scope === SCOPE_LINK : gateway === undefined);
const isLinkLocal = ({ destination }: Route) => destination.startsWith('fe80:');
const familyOf = (address: string): 4 | 6 => (address.includes(':') ? 6 : 4);
