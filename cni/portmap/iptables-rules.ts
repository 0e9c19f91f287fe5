/**
 * Host ports as the reference plugin's iptables backend writes them, in the nat table:
 *
 *     PREROUTING, OUTPUT (at the end, behind Services: CVE-2019-9946), to a local address → CNI-HOSTPORT-DNAT
 *     CNI-HOSTPORT-DNAT: a rule for each protocol and 15 ports of a container → CNI-DN-<hash>
 *     CNI-DN-<hash>: for each port: mark what must be masqueraded; DNAT
 *     POSTROUTING (at the beginning) → CNI-HOSTPORT-MASQ: what is marked
 *
 * Texts are the reference plugin's, word by word: its own deletions look for them.
 */
import { formatPrefix, networkOf, parsePrefix } from '../../src/linux/ip.ts';
import { canonicalRule, parseRule } from '../../src/netfilter/rule.ts';
import type { SavedTable } from '../../src/netfilter/tables.ts';
import { type TableChanges, targetOf } from '../../src/netfilter/transaction.ts';
import { cniChainName } from '../hash-name.ts';
import { isForLocalhost, mappingsOf, onlyAddressOf, type PodAddress, type PortmapConfig } from './mapping.ts';

export const DNAT_CHAIN = 'CNI-HOSTPORT-DNAT';
const SETMARK_CHAIN = 'CNI-HOSTPORT-SETMARK';
const MASQ_CHAIN = 'CNI-HOSTPORT-MASQ';
/** Of plugins before 0.7; their per-container chains are called CNI-SN-<hash>. */
const OLD_SNAT_CHAIN = 'CNI-HOSTPORT-SNAT';
/** The multiport match takes no more. */
const PORTS_A_RULE = 15;
const COMMENT_LIMIT = 255;
/** Beside the reference plugin's words: `isForLocalhost` tells why. */
const FROM_NODE = ' -m addrtype --src-type LOCAL';

export const podChain = (network: string, containerId: string) => cniChainName(network, containerId, 'DN-');
const oldPodChain = (network: string, containerId: string) => cniChainName(network, containerId, 'SN-');

interface PlacedRule {
  chain: string;
  rule: string;
  place: 'first' | 'last';
}

/** What one container's chain holds, and the rules that lead there. Pure. */
export function buildPodChain(config: PortmapConfig, containerId: string, pod: PodAddress) {
  const chain = podChain(config.network, containerId);
  const mappings = mappingsOf(config.mappings, pod.family);
  const comment = quote(trimComment(`dnat name: "${config.network}" id: "${containerId}"`));
  const conditions = config.conditions[pod.family].map(quoteIfNeeded);
  const protocols = [...new Set(mappings.map(({ protocol }) => protocol))].sort();
  const entries = protocols.flatMap((protocol) => {
    const ports = mappings.filter((one) => one.protocol === protocol).map(({ hostPort }) => hostPort);
    return pieces(ports, PORTS_A_RULE).map((some) =>
      [
        `-p ${protocol} -m comment --comment ${comment} -m multiport --destination-ports ${some}`,
        ...conditions,
        `-j ${chain}`,
      ].join(' '),
    );
  });
  const markChain = config.setMarkChain ?? SETMARK_CHAIN;
  const subnet = formatPrefix(networkOf(parsePrefix(pod.cidr)));
  const sources = config.masqAll ? [''] : [`-s ${subnet} `, ...(pod.family === 'IPv4' ? ['-s 127.0.0.1 '] : [])];
  const to = pod.family === 'IPv4' ? pod.address : `[${pod.address}]`;
  const rules = mappings.flatMap((mapping) => {
    const { protocol, hostPort, containerPort } = mapping;
    const only = onlyAddressOf(mapping);
    const from = isForLocalhost(mapping) ? FROM_NODE : '';
    const port = `-p ${protocol} -m ${protocol} --dport ${hostPort}${only === undefined ? '' : ` -d ${only}`}${from}`;
    return [
      ...(config.snat ? sources.map((source) => `${source}${port} -j ${markChain}`) : []),
      `${port} -j DNAT --to-destination ${to}:${containerPort}`,
    ];
  });
  return { chain, entries, rules };
}

/** The rules that all containers share, in an order in which they can be written. Pure. */
function sharedRules({ snat, setMarkChain, markBit }: PortmapConfig): PlacedRule[] {
  const mark = `0x${(2 ** markBit).toString(16)}/0x${(2 ** markBit).toString(16)}`;
  const toLocal = `-m addrtype --dst-type LOCAL -j ${DNAT_CHAIN}`;
  const marking: PlacedRule[] = [
    {
      chain: SETMARK_CHAIN,
      rule: `-m comment --comment "CNI portfwd masquerade mark" -j MARK --set-xmark ${mark}`,
      place: 'last',
    },
    { chain: MASQ_CHAIN, rule: `-m mark --mark ${mark} -j MASQUERADE`, place: 'last' },
    // Before the masquerading of whole networks, which would end the chain.
    {
      chain: 'POSTROUTING',
      rule: `-m comment --comment "CNI portfwd requiring masquerade" -j ${MASQ_CHAIN}`,
      place: 'first',
    },
  ];
  return [
    ...(snat && setMarkChain === undefined ? marking : []),
    { chain: 'PREROUTING', rule: toLocal, place: 'last' },
    { chain: 'OUTPUT', rule: toLocal, place: 'last' },
  ];
}

/**
 * What turns the nat table as it is into one that has the container's rules. New shared chains are made by `-N`, which fails where another
 * process was quicker: a chain in the header would be emptied. Pure.
 */
export function buildAddition(
  config: PortmapConfig,
  containerId: string,
  pod: PodAddress,
  saved: SavedTable,
): TableChanges {
  const own = buildPodChain(config, containerId, pod);
  const shared = sharedRules(config);
  const needed = [DNAT_CHAIN, ...shared.map(({ chain }) => chain).filter((chain) => chain.startsWith('CNI-'))];
  const created = needed.filter((chain) => !saved.has(chain)).map((chain) => `-N ${chain}`);
  const missing = shared.filter(({ chain, rule }) => !hasRule(saved, chain, rule));
  const before = (saved.get(DNAT_CHAIN)?.rules ?? []).filter((rule) => targetOf(rule) === own.chain);
  return {
    table: 'nat',
    chains: [own.chain],
    commands: [
      ...created,
      ...missing.map(({ chain, rule, place }) => (place === 'first' ? `-I ${chain} ${rule}` : `-A ${chain} ${rule}`)),
      ...own.rules.map((rule) => `-A ${own.chain} ${rule}`),
      ...before.map((rule) => `-D ${DNAT_CHAIN} ${rule}`),
      // Who comes last gets the port.
      ...own.entries.toReversed().map((rule) => `-I ${DNAT_CHAIN} ${rule}`),
    ],
  };
}

/** The chains that are some containers', with those of old plugins. */
export function chainsOf(network: string, containerIds: readonly string[]): string[] {
  return containerIds.flatMap((id) => [podChain(network, id), oldPodChain(network, id)]);
}

/** What takes containers' chains away; with the last of them the shared chains and the jumps to them. Pure. */
export function buildRemoval(saved: SavedTable, chains: readonly string[]): TableChanges {
  const gone = chains.filter((chain) => saved.has(chain));
  const entriesTo = (chain: string) =>
    [DNAT_CHAIN, OLD_SNAT_CHAIN].flatMap((from) =>
      (saved.get(from)?.rules ?? []).filter((rule) => targetOf(rule) === chain).map((rule) => `-D ${from} ${rule}`),
    );
  const stays = (saved.get(DNAT_CHAIN)?.rules ?? []).some((rule) => !gone.includes(targetOf(rule) ?? ''));
  const shared = stays ? [] : [DNAT_CHAIN, SETMARK_CHAIN, MASQ_CHAIN].filter((chain) => saved.has(chain));
  // Jumps to a shared chain from chains that stay: of PREROUTING and the like, or of somebody else's.
  const jumps = [...saved]
    .filter(([chain]) => !shared.includes(chain) && !gone.includes(chain))
    .flatMap(([chain, { rules }]) =>
      rules.filter((rule) => shared.includes(targetOf(rule) ?? '')).map((rule) => `-D ${chain} ${rule}`),
    );
  // Emptied first: they refer to each other. The shared DNAT chain is not: whatever another process has put there meanwhile makes this fail.
  const emptied = shared.filter((chain) => chain !== DNAT_CHAIN);
  return {
    table: 'nat',
    chains: [...gone, ...emptied],
    commands: [...gone.flatMap(entriesTo), ...jumps, ...[...gone, ...shared].map((chain) => `-X ${chain}`)],
  };
}

/** Names what the table lacks of a container's rules; undefined when nothing. Pure. */
export function findMissing(
  config: PortmapConfig,
  containerId: string,
  pod: PodAddress,
  saved: SavedTable,
): string | undefined {
  const { chain, entries, rules } = buildPodChain(config, containerId, pod);
  if (entries.length === 0) return undefined;
  const wanted: [string, string][] = [
    ...sharedRules(config).map(({ chain: from, rule }): [string, string] => [from, rule]),
    ...entries.map((rule): [string, string] => [DNAT_CHAIN, rule]),
    ...rules.map((rule): [string, string] => [chain, rule]),
  ];
  // A container that the reference plugin attached has its ports, if less closely kept: no reason to attach it anew.
  const missing = wanted.find(
    ([from, rule]) => !hasRule(saved, from, rule) && !hasRule(saved, from, rule.replace(FROM_NODE, '')),
  );
  return missing && `chain ${missing[0]} of the nat table lacks ${missing[1]}`;
}

/** The containers of a network that the entry rules name. Pure. */
export function containersOf(saved: SavedTable, network: string): string[] {
  const ids = (saved.get(DNAT_CHAIN)?.rules ?? []).map((rule) => {
    const comment = parseRule(rule).find(({ name }) => name === '--comment')?.values[0] ?? '';
    const [, name, id] = /^dnat name: "([^"]*)" id: "([^"]*)"$/.exec(comment) ?? [];
    return name === network ? id : undefined;
  });
  return [...new Set(ids.filter((id) => id !== undefined))];
}

function hasRule(saved: SavedTable, chain: string, rule: string): boolean {
  const wanted = canonical(rule);
  return (saved.get(chain)?.rules ?? []).some((one) => canonical(one) === wanted);
}

/** iptables-save has the shorter of the option's two names. */
const canonical = (rule: string) => canonicalRule(rule.replace('--destination-ports', '--dports'));

function pieces<T>(list: readonly T[], length: number): T[][] {
  return Array.from({ length: Math.ceil(list.length / length) }, (_, index) =>
    list.slice(index * length, (index + 1) * length),
  );
}

const trimComment = (text: string) => (text.length <= COMMENT_LIMIT ? text : `${text.slice(0, 253)}...`);
const quote = (text: string) => `"${text.replaceAll(/["\\]/g, '\\$&')}"`;
const quoteIfNeeded = (text: string) => (/[\s"\\]/.test(text) || text === '' ? quote(text) : text);
