import type { TableName } from '../../src/netfilter/tables.ts';
import { runAtOnce } from '../../src/runtime/slices.ts';
import type { NodeRenderOptions } from '../mode.ts';
import { isLoopback } from '../state/addresses.ts';
import type { ProxySnapshot, ServiceState } from '../state/model.ts';
import { FIREWALL_JUMPS, JUMPS, type Jump } from './jumps.ts';
import { CHAIN } from './names.ts';
import { renderServicePort, type ServicePortRules, type ServiceRenderOptions } from './service-rules.ts';

export interface RenderOptions extends ServiceRenderOptions, Omit<NodeRenderOptions, 'serviceCidrs'> {
  hasRandomFully: boolean;
}

/** Everything that should stand in the kernel for one family. Rules are without their `-A CHAIN`. */
export interface RuleSet {
  jumps: readonly Jump[];
  /** Chains that hold lines of all services; small in number, long at times. */
  shared: ReadonlyMap<TableName, ReadonlyMap<string, readonly string[]>>;
  /** Chains of single services, in the nat table, by `ns/name`. */
  services: ReadonlyMap<string, readonly ServicePortRules[]>;
}

/** More endpoints than this, and rules do without comments (kube-proxy's largeClusterEndpointsThreshold). */
export const LARGE_CLUSTER_ENDPOINTS = 1000;

export function countEndpoints(snapshot: ProxySnapshot): number {
  let count = 0;
  for (const { ports } of snapshot.services.values()) for (const { endpoints } of ports) count += endpoints.length;
  return count;
}

/** The rules of one service: all its ports. */
export function renderService(state: ServiceState, options: ServiceRenderOptions): ServicePortRules[] {
  return state.ports.map((port) => renderServicePort(port, options));
}

/** Puts the services' parts together with the rules that are always there. */
export function assembleRuleSet(
  services: ReadonlyMap<string, readonly ServicePortRules[]>,
  options: RenderOptions & { family: ProxySnapshot['family'] },
): RuleSet {
  const all = [...services.values()].flat();
  const collect = (pick: (rules: ServicePortRules) => readonly string[]) => all.flatMap(pick);
  const guardsLocalhost = options.family === 'IPv4' && options.localhostNodePorts;
  const filter = new Map<string, readonly string[]>([
    [CHAIN.services, collect((rules) => rules.filter.services)],
    [CHAIN.externalServices, collect((rules) => rules.filter.externalServices)],
    [CHAIN.forward, forwardRules(options)],
    [CHAIN.nodePorts, collect((rules) => rules.filter.nodePorts)],
    [CHAIN.proxyFirewall, collect((rules) => rules.filter.proxyFirewall)],
    ...(guardsLocalhost ? [[CHAIN.firewall, [LOCALNET_GUARD]] as const] : []),
    [CHAIN.canary, []],
  ]);
  const nat = new Map<string, readonly string[]>([
    [CHAIN.services, [...collect((rules) => rules.nat.services), ...nodePortJumps(options)]],
    [CHAIN.nodePorts, collect((rules) => rules.nat.nodePorts)],
    [CHAIN.postrouting, postroutingRules(options)],
    [CHAIN.markMasq, [`-j MARK --or-mark ${markText(options)}`]],
    [CHAIN.canary, []],
  ]);
  return {
    jumps: guardsLocalhost ? [...JUMPS, ...FIREWALL_JUMPS] : JUMPS,
    shared: new Map<TableName, ReadonlyMap<string, readonly string[]>>([
      ['mangle', new Map([[CHAIN.canary, []]])],
      ['filter', filter],
      ['nat', nat],
    ]),
    services,
  };
}

/** The whole rule set of a snapshot. Pure: equal input gives equal text. */
export function renderRuleSet(snapshot: ProxySnapshot, options: RenderOptions): RuleSet {
  return runAtOnce(renderRuleSetSteps(snapshot, options));
}

/** As renderRuleSet, in steps of a service. */
export function* renderRuleSetSteps(snapshot: ProxySnapshot, options: RenderOptions): Generator<void, RuleSet> {
  const services = new Map<string, readonly ServicePortRules[]>();
  for (const [name, state] of snapshot.services) {
    services.set(name, renderService(state, options));
    yield;
  }
  return assembleRuleSet(services, { ...options, family: snapshot.family });
}

/**
 * route_localnet, which NodePorts on 127.0.0.1 need, would let neighbours send packets to this host's loopback
 * addresses (CVE-2020-8558): whatever comes for 127/8 from elsewhere without having been sent there by us is dropped.
 */
const LOCALNET_GUARD =
  '-m comment --comment "block incoming localnet connections" -d 127.0.0.0/8 ! -s 127.0.0.0/8 -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP';

function markText({ masqueradeMark }: RenderOptions): string {
  return `0x${masqueradeMark.toString(16).padStart(8, '0')}`;
}

function postroutingRules(options: RenderOptions): string[] {
  const mark = markText(options);
  return [
    `-m mark ! --mark ${mark}/${mark} -j RETURN`,
    // Cleared, lest the packet is masqueraded again when it comes past a second time.
    `-j MARK --xor-mark ${mark}`,
    `-m comment --comment "kubernetes service traffic requiring SNAT" -j MASQUERADE${options.hasRandomFully ? ' --random-fully' : ''}`,
  ];
}

function forwardRules(options: RenderOptions): string[] {
  const mark = markText(options);
  return [
    // Late or out-of-window packets would reach the client un-translated, and its reset would end a good connection.
    ...(options.conntrackTcpBeLiberal ? [] : ['-m conntrack --ctstate INVALID -j DROP']),
    `-m comment --comment "kubernetes forwarding rules" -m mark --mark ${mark}/${mark} -j ACCEPT`,
    '-m comment --comment "kubernetes forwarding conntrack rule" -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT',
  ];
}

function nodePortJumps(options: RenderOptions & { family: ProxySnapshot['family'] }): string[] {
  const about = '-m comment --comment "kubernetes service nodeports; NOTE: this must be the last rule in this chain"';
  const takesLoopback = options.family === 'IPv4' && options.localhostNodePorts;
  if (options.nodePortAddresses)
    return options.nodePortAddresses
      .filter((address) => takesLoopback || !isLoopback(address))
      .map((address) => `${about} -d ${address} -j ${CHAIN.nodePorts}`);
  const loopback = options.family === 'IPv6' ? '::1/128' : '127.0.0.0/8';
  const except = takesLoopback ? '' : ` ! -d ${loopback}`;
  return [`${about} -m addrtype --dst-type LOCAL${except} -j ${CHAIN.nodePorts}`];
}
