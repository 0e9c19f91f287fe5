import type { Run } from '../../src/netfilter/iptables.ts';
import { createNft } from '../../src/netfilter/nft.ts';
import type { IpFamily } from '../../src/netfilter/tables.ts';
import { joinHostPort } from '../state/addresses.ts';
import type { PortalTable } from './portal-table.ts';
import type { Portal, PortalFirewall, PortalSet } from './portals.ts';

const TABLE = 'kube-proxy-userspace';

/** The portals in an nftables table of their own, replaced as a whole in one transaction. */
export function createNftPortals(family: IpFamily, options: { run: Run; netns?: string }): PortalTable {
  const nft = createNft(options);
  const ip = ipOf(family);
  const stands = async () => (await nft.tables()).some((table) => table.family === ip && table.name === TABLE);
  return {
    kind: 'nftables',
    async probe() {
      // All of it in one transaction, whose end is as its beginning.
      const name = `${TABLE}-probe`;
      const rule = family === 'IPv4' ? '127.0.0.1:1' : '[::1]:1';
      await nft.apply(
        [
          `add table ${ip} ${name}`,
          `add chain ${ip} ${name} c { type nat hook prerouting priority -100; }`,
          `add rule ${ip} ${name} c fib daddr type local tcp dport 1 dnat to ${rule}`,
          `delete table ${ip} ${name}`,
        ].join('\n'),
      );
    },
    apply: (set, signal) => nft.apply(renderNft(set), signal),
    stands,
    async remove() {
      if (await stands()) await nft.apply(`delete table ${ip} ${TABLE}\n`);
    },
  };
}

/** The script that puts the table in place of the one before. Pure. */
export function renderNft(set: PortalSet): string {
  const ip = ipOf(set.family);
  const chain = (name: string, hook: string, rules: string[]) =>
    [`\tchain ${name} {`, `\t\t${hook}`, ...rules.map((rule) => `\t\t${rule}`), '\t}'].join('\n');
  const nat = (hook: 'prerouting' | 'output') =>
    set.portals.flatMap((portal) => (comesThrough(portal, hook) ? natRule(set, portal) : []));
  const ends = (hook: 'input' | 'forward' | 'output') => set.portals.flatMap((portal) => endRule(set, portal, hook));
  const firewall = set.firewalls.map((one) => firewallRule(ip, one));
  const ownFirewall = set.firewalls.flatMap((one) => (one.admitsNode ? [] : [firewallRule(ip, one)]));
  return `${[
    `add table ${ip} ${TABLE}`,
    `delete table ${ip} ${TABLE}`,
    `table ${ip} ${TABLE} {`,
    '\tcomment "portals of kube-proxy (userspace mode)"',
    chain('firewall-prerouting', 'type filter hook prerouting priority -150;', firewall),
    chain('firewall-output', 'type filter hook output priority -150;', ownFirewall),
    chain('nat-prerouting', 'type nat hook prerouting priority -100;', nat('prerouting')),
    chain('nat-output', 'type nat hook output priority -100;', nat('output')),
    chain('filter-input', 'type filter hook input priority 0;', [...guardRules(set, ip), ...ends('input')]),
    chain('filter-forward', 'type filter hook forward priority 0;', ends('forward')),
    chain('filter-output', 'type filter hook output priority 0;', ends('output')),
    '}',
  ].join('\n')}\n`;
}

function ipOf(family: IpFamily): 'ip' | 'ip6' {
  return family === 'IPv4' ? 'ip' : 'ip6';
}

function comesThrough({ from }: Portal, hook: 'prerouting' | 'output'): boolean {
  return from === 'all' || (from === 'node') === (hook === 'output');
}

function natRule(set: PortalSet, portal: Portal): string[] {
  if (typeof portal.action === 'string') return [];
  const from = portal.from === 'pods' ? matchPods(set) : '';
  if (from === undefined) return [];
  const to = joinHostPort(set.relayAddress, portal.action);
  return [`${from}${matchDestination(set, portal)} dnat to ${to} comment "${portal.service}"`];
}

function endRule(set: PortalSet, portal: Portal, hook: 'input' | 'forward' | 'output'): string[] {
  if (typeof portal.action === 'number' || portal.from !== 'all') return [];
  if (portal.address === undefined && hook === 'forward') return [];
  return [`ct state new ${matchDestination(set, portal)} ${portal.action} comment "${portal.service}"`];
}

function firewallRule(ip: string, { service, protocol, address, port, ranges }: PortalFirewall): string {
  return `${ip} daddr ${address} ${protocol} dport ${port} ${ip} saddr != { ${ranges.join(', ')} } drop comment "${service}"`;
}

/** The relays themselves are for portals only: straight to them nobody comes past a firewall. */
function guardRules({ relayPorts, relayAddress }: PortalSet, ip: string): string[] {
  return (['tcp', 'udp'] as const).flatMap((protocol) => {
    const ports = relayPorts.filter((relay) => relay.protocol === protocol).map(({ port }) => port);
    if (ports.length === 0) return [];
    const match = `${ip} daddr ${relayAddress} ${protocol} dport { ${ports.join(', ')} } ct state new`;
    return [`${match} ct status dnat return`, `${match} reject`];
  });
}

function matchDestination(set: PortalSet, { address, protocol, port }: Portal): string {
  const ip = ipOf(set.family);
  const to = `${protocol} dport ${port}`;
  if (address) return `${ip} daddr ${address} ${to}`;
  if (set.nodePortAddresses) return `${ip} daddr { ${set.nodePortAddresses.join(', ')} } ${to}`;
  const loopback = set.family === 'IPv4' ? '127.0.0.0/8' : '::1';
  return `fib daddr type local ${set.takesLoopback ? '' : `${ip} daddr != ${loopback} `}${to}`;
}

function matchPods({ localDetector, family }: PortalSet): string | undefined {
  switch (localDetector.kind) {
    case 'none':
      return undefined;
    case 'cidr':
      return `${ipOf(family)} saddr ${localDetector.cidr} `;
    case 'bridge':
      return `iifname "${localDetector.name}" `;
    case 'prefix':
      return `iifname "${localDetector.prefix}*" `;
  }
}
