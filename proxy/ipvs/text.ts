import type { VirtualServer } from '../../src/netfilter/ipvs-messages.ts';
import { FLAG_PERSISTENT, FLAG_SCHED2 } from '../../src/netfilter/ipvs-messages.ts';
import type { IpFamily } from '../../src/netfilter/tables.ts';
import { type IpvsChains, JUMPS } from './chains.ts';
import { endpointText } from './operations.ts';
import { SET_KEYS, SETS, setName } from './sets.ts';
import type { Wanted } from './wanted.ts';

/**
 * All of mode ipvs as its tools would print it, sorted: `ipvsadm -Sn`, `ip addr add`, `ipset save`, `iptables-save`. Equal input gives
 * equal bytes.
 */
export function renderIpvsText(wanted: Wanted, chains: IpvsChains, family: IpFamily): string {
  return [
    ...ipvsadmLines(wanted),
    ...addressLines(wanted),
    ...ipsetLines(wanted, family),
    ...tableLines(chains),
    '',
  ].join('\n');
}

function ipvsadmLines(wanted: Wanted): string[] {
  const servers = [...wanted.servers()].sort(([a], [b]) => (a < b ? -1 : 1));
  return servers.flatMap(([, { server, endpoints }]) => {
    const name = `${protocolFlag(server)} ${endpointText(server.address, server.port)}`;
    const persistent = server.flags & FLAG_PERSISTENT ? ` -p ${server.timeoutSeconds}` : '';
    const flags = server.flags & FLAG_SCHED2 ? ' -b flag-2' : '';
    return [
      `-A ${name} -s ${server.scheduler}${persistent}${flags}`,
      ...[...new Set(endpoints)].sort().map((endpoint) => `-a ${name} -r ${endpoint} -m -w 1`),
    ];
  });
}

function protocolFlag({ protocol }: VirtualServer): string {
  return { TCP: '-t', UDP: '-u', SCTP: '--sctp-service' }[protocol];
}

function addressLines(wanted: Wanted): string[] {
  return [...wanted.addresses().keys()]
    .sort()
    .map((address) => `addr add ${address}/${address.includes(':') ? 128 : 32} dev kube-ipvs0`);
}

function ipsetLines(wanted: Wanted, family: IpFamily): string[] {
  return SET_KEYS.flatMap((key) => {
    const name = setName(key, family);
    const shape = SETS[key].type === 'bitmap:port' ? 'range 0-65535' : `family ${family === 'IPv4' ? 'inet' : 'inet6'}`;
    return [
      `create ${name} ${SETS[key].type} ${shape}`,
      ...[...wanted.elements(key).keys()].sort().map((element) => `add ${name} ${element}`),
    ];
  });
}

function tableLines(chains: IpvsChains): string[] {
  return [...chains].flatMap(([table, ofTable]) => [
    `*${table}`,
    ...[...ofTable.keys()].map((chain) => `:${chain} - [0:0]`),
    // Put at the top one after the other, the last one comes first.
    ...JUMPS.filter((jump) => jump.table === table)
      .reverse()
      .map(({ from, rule }) => `-A ${from} ${rule}`),
    ...[...ofTable].flatMap(([chain, rules]) => rules.map((rule) => `-A ${chain} ${rule}`)),
    'COMMIT',
  ]);
}
