/**
 * What the firewall plugin writes into the filter table, in the reference plugin's words:
 *
 *     FORWARD → CNI-ISOLATION-STAGE-1 (with an ingressPolicy) → CNI-ISOLATION-STAGE-2: what goes from one bridge to another is dropped
 *     FORWARD → CNI-FORWARD → CNI-ADMIN (the administrator's own), then for each address: answers to it, and what it sends
 */
import { canonicalRule } from '../../src/netfilter/rule.ts';
import type { SavedTable } from '../../src/netfilter/tables.ts';
import { type TableChanges, targetOf } from '../../src/netfilter/transaction.ts';

export const FORWARD_CHAIN = 'CNI-FORWARD';
const STAGE_1 = 'CNI-ISOLATION-STAGE-1';
const STAGE_2 = 'CNI-ISOLATION-STAGE-2';

export type IngressPolicy = 'open' | 'same-bridge' | 'isolated';

export interface FilterWish {
  /** Of one family, with full prefix: `10.9.0.2/32`. */
  addresses: readonly string[];
  adminChain: string;
  policy: IngressPolicy;
  /** That the policy is about; undefined with `open`. */
  bridge: string | undefined;
}

const commented = (comment: string) => `-m comment --comment "${comment}"`;
const FORWARD_JUMP = `${commented('CNI firewall plugin rules')} -j ${FORWARD_CHAIN}`;
const adminJump = (chain: string) => `${commented('CNI firewall plugin admin overrides')} -j ${chain}`;
/** The reference plugin's comment, whichever of the two policies it is. */
const isolation = commented('CNI firewall plugin rules (ingressPolicy: same-bridge)');
const STAGE_JUMP = `${isolation} -j ${STAGE_1}`;
const STAGE_RETURN = `${isolation} -j RETURN`;

function addressRules(address: string): string[] {
  return [`-d ${address} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT`, `-s ${address} -j ACCEPT`];
}

/** Chain, rule, and whether it goes before the others. */
type Wanted = readonly [chain: string, rule: string, place: 'first' | 'last'];

function wantedRules({ addresses, adminChain, policy, bridge }: FilterWish): Wanted[] {
  const stages: Wanted[] = [
    ['FORWARD', STAGE_JUMP, 'first'],
    [STAGE_1, STAGE_RETURN, 'last'],
    [STAGE_1, `-i ${bridge} ! -o ${bridge} ${isolation} -j ${STAGE_2}`, 'first'],
    ...(policy === 'isolated' ? [[STAGE_1, `-i ${bridge} -o ${bridge} ${isolation} -j DROP`, 'first'] as const] : []),
    [STAGE_2, STAGE_RETURN, 'last'],
    [STAGE_2, `-o ${bridge} ${isolation} -j DROP`, 'first'],
  ];
  const accepts: Wanted[] = [
    ['FORWARD', FORWARD_JUMP, 'first'],
    [FORWARD_CHAIN, adminJump(adminChain), 'first'],
    ...addresses.flatMap(addressRules).map((rule): Wanted => [FORWARD_CHAIN, rule, 'last']),
  ];
  return [
    // None where firewalld has the addresses.
    ...(addresses.length > 0 ? accepts : []),
    ...(bridge === undefined || policy === 'open' ? [] : stages),
  ];
}

/**
 * What is missing of a container's rules. New chains are made by `-N`, which fails where another process was quicker: a chain in the
 * header would be emptied. Pure.
 */
export function buildAddition(wish: FilterWish, saved: SavedTable): TableChanges {
  const wanted = wantedRules(wish);
  const admin = wish.addresses.length > 0 ? [wish.adminChain] : [];
  const chains = [...new Set([...admin, ...wanted.map(([chain]) => chain)])];
  const created = chains.filter((chain) => !saved.has(chain)).map((chain) => `-N ${chain}`);
  const missing = wanted.filter(([chain, rule]) => !hasRule(saved, chain, rule) || isBehind(saved, chain, rule));
  const late = missing.filter(([chain, rule]) => hasRule(saved, chain, rule));
  return {
    table: 'filter',
    chains: [],
    commands: [
      ...created,
      ...late.map(([chain, rule]) => `-D ${chain} ${rule}`),
      ...missing.map(([chain, rule, place]) => `${place === 'first' ? '-I' : '-A'} ${chain} ${rule}`),
    ],
  };
}

/** The policy's drops decide nothing behind the addresses' accepts. */
function isBehind(saved: SavedTable, chain: string, rule: string): boolean {
  if (chain !== 'FORWARD' || rule !== STAGE_JUMP) return false;
  const targets = (saved.get('FORWARD')?.rules ?? []).map(targetOf);
  const [stage, forward] = [targets.indexOf(STAGE_1), targets.indexOf(FORWARD_CHAIN)];
  return forward >= 0 && forward < stage;
}

/** What takes addresses' rules away; with the last of all, every chain but an administrator's own rules. Pure. */
export function buildRemoval(addresses: readonly string[], adminChain: string, saved: SavedTable): TableChanges {
  const unwanted = new Set(addresses.flatMap(addressRules).map(canonicalRule));
  const rules = saved.get(FORWARD_CHAIN)?.rules ?? [];
  const gone = rules.filter((rule) => unwanted.has(canonicalRule(rule)));
  const rest = rules.filter((rule) => !gone.includes(rule) && targetOf(rule) !== adminChain);
  const commands = gone.map((rule) => `-D ${FORWARD_CHAIN} ${rule}`);
  if (gone.length === 0 || rest.length > 0) return { table: 'filter', chains: [], commands };
  const chains = [FORWARD_CHAIN, STAGE_1, STAGE_2].filter((chain) => saved.has(chain));
  const jumps = (saved.get('FORWARD')?.rules ?? []).filter((rule) => chains.includes(targetOf(rule) ?? ''));
  const admin = saved.get(adminChain)?.rules.length === 0 ? [`-X ${adminChain}`] : [];
  return {
    table: 'filter',
    // Emptied, since they refer to each other. CNI-FORWARD is not: what another process has added meanwhile makes this fail.
    chains: chains.filter((chain) => chain !== FORWARD_CHAIN),
    commands: [
      ...commands,
      ...jumps.map((rule) => `-D FORWARD ${rule}`),
      ...rules.filter((rule) => targetOf(rule) === adminChain).map((rule) => `-D ${FORWARD_CHAIN} ${rule}`),
      ...chains.map((chain) => `-X ${chain}`),
      ...admin,
    ],
  };
}

/** Names the first rule that is not there; undefined when all are. Pure. */
export function findMissing(wish: FilterWish, saved: SavedTable): string | undefined {
  const missing = wantedRules(wish).find(([chain, rule]) => !hasRule(saved, chain, rule));
  return missing && `chain ${missing[0]} of the filter table lacks ${missing[1]}`;
}

function hasRule(saved: SavedTable, chain: string, rule: string): boolean {
  const wanted = canonicalRule(rule);
  return (saved.get(chain)?.rules ?? []).some((one) => canonicalRule(one) === wanted);
}
