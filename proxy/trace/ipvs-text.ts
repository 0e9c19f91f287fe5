import type { IpFamily } from '../../src/netfilter/tables.ts';
import { addressPattern, canonicalAddress, createElements, portPattern } from './elements.ts';
import type { IpsetElements } from './iptables-text.ts';
import type { DnatTarget, Pattern, Rule, Ruleset } from './ruleset.ts';

/** `create NAME TYPE …` and `add NAME ELEMENT …`, as `ipset save` prints them. @returns by name */
export function readIpsets(lines: readonly string[]): Map<string, IpsetElements> {
  const types = new Map<string, string>();
  const entries = new Map<string, Pattern[][]>();
  for (const line of lines) {
    const [verb, name = '', what = ''] = line.split(' ');
    if (verb === 'create') {
      types.set(name, what);
      entries.set(name, []);
    } else if (verb === 'add') entries.get(name)?.push(readElement(what));
  }
  return new Map(
    [...types].map(([name, type]) => [
      name,
      {
        type,
        elements: createElements(
          (entries.get(name) ?? []).map((key) => [key, true] as const),
          name,
        ),
      },
    ]),
  );
}

/** `10.96.0.1,tcp:80,10.0.0.0/8`: the protocol in front of a port is a part of its own. */
function readElement(text: string): Pattern[] {
  return text.split(',').flatMap((part) => {
    const [, protocol, port] = /^([a-z]+):(\d[\d-]*)$/.exec(part) ?? [];
    if (protocol && port) return [protocol, portPattern(port)];
    return /^\d[\d-]*$/.test(part) ? portPattern(part) : addressPattern(part);
  });
}

interface VirtualServer {
  text: string;
  protocol: string;
  address: string;
  port: string;
  targets: DnatTarget[];
}

const PROTOCOLS: Record<string, string> = { '-t': 'tcp', '-u': 'udp', '--sctp-service': 'sctp' };

/**
 * `-A -t 10.96.0.1:80 -s rr` and `-a -t 10.96.0.1:80 -r 10.244.0.1:8080 -m -w 1`, as `ipvsadm -Sn` prints them: virtual servers as a
 * chain at the hooks where the kernel's load balancer sits. Every scheduler is shown as chance by weight.
 */
export function readIpvs(family: IpFamily, lines: readonly string[]): Ruleset {
  const servers = new Map<string, VirtualServer>();
  for (const line of lines) {
    const [verb, kind = '', virtual = '', , real = ''] = line.split(' ');
    const key = `${kind} ${virtual}`;
    const protocol = PROTOCOLS[kind];
    if (!protocol) continue;
    const { address, port } = splitHostPort(virtual);
    if (verb === '-A') servers.set(key, { text: line, protocol, address, port, targets: [] });
    else if (verb === '-a') {
      const target = splitHostPort(real);
      const weight = Number(/ -w (\d+)/.exec(line)?.[1] ?? 1);
      servers.get(key)?.targets.push({ address: target.address, port: Number(target.port), weight });
    }
  }
  const ofFamily = [...servers.values()].filter(({ address }) => address.includes(':') === (family === 'IPv6'));
  const rules = ofFamily.map((server) => ruleOf(server));
  return {
    family,
    baseChains: [
      { table: 'ipvs', chain: 'virtual servers', hook: 'input', priority: 99, kind: 'ipvs', policy: 'ACCEPT' },
      { table: 'ipvs', chain: 'virtual servers', hook: 'output', priority: -98, kind: 'ipvs', policy: 'ACCEPT' },
    ],
    boundAddresses: ofFamily.map(({ address }) => address),
    rules: (table) => (table === 'ipvs' ? rules : undefined),
  };
}

function ruleOf({ text, protocol, address, port, targets }: VirtualServer): Rule {
  return {
    text,
    steps: [
      {
        kind: 'match',
        key: [
          { kind: 'field', field: 'destination' },
          { kind: 'field', field: 'protocol' },
          { kind: 'field', field: 'destinationPort' },
        ],
        elements: createElements([[[address, protocol, port], true]]),
        negated: false,
      },
      { kind: 'dnat', targets },
    ],
  };
}

function splitHostPort(text: string): { address: string; port: string } {
  const at = text.lastIndexOf(':');
  return { address: canonicalAddress(text.slice(0, at).replace(/^\[(.*)\]$/, '$1')), port: text.slice(at + 1) };
}
