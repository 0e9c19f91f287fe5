import type { IpFamily } from '../../src/netfilter/tables.ts';
import { matchLocal } from '../local-detector.ts';
import type { IpvsRenderOptions } from './service-rules.ts';
import { SETS, type SetKey, setName } from './sets.ts';
import type { Wanted } from './wanted.ts';

export type IpvsTable = 'nat' | 'filter';
/** Rules by table and chain, without their `-A CHAIN`. */
export type IpvsChains = ReadonlyMap<IpvsTable, ReadonlyMap<string, readonly string[]>>;

/** The chains of kube-proxy's mode ipvs. */
export const CHAINS: Readonly<Record<IpvsTable, readonly string[]>> = {
  nat: ['KUBE-SERVICES', 'KUBE-POSTROUTING', 'KUBE-NODE-PORT', 'KUBE-LOAD-BALANCER', 'KUBE-MARK-MASQ'],
  filter: [
    'KUBE-FORWARD',
    'KUBE-NODE-PORT',
    'KUBE-PROXY-FIREWALL',
    'KUBE-SOURCE-RANGES-FIREWALL',
    'KUBE-IPVS-FILTER',
    'KUBE-IPVS-OUT-FILTER',
  ],
};

/** A chain of former versions of kube-proxy in table nat, which nothing leads to any more; it names sets. */
export const FORMER_CHAIN = 'KUBE-FIREWALL';

export interface IpvsJump {
  table: IpvsTable;
  from: string;
  rule: string;
}

/** In the order in which they are put at the top of their chains: the last of a chain ends up first. */
export const JUMPS: readonly IpvsJump[] = [
  jump('nat', 'OUTPUT', 'KUBE-SERVICES', 'kubernetes service portals'),
  jump('nat', 'PREROUTING', 'KUBE-SERVICES', 'kubernetes service portals'),
  jump('nat', 'POSTROUTING', 'KUBE-POSTROUTING', 'kubernetes postrouting rules'),
  jump('filter', 'FORWARD', 'KUBE-FORWARD', 'kubernetes forwarding rules'),
  jump('filter', 'INPUT', 'KUBE-NODE-PORT', 'kubernetes health check rules'),
  jump('filter', 'INPUT', 'KUBE-PROXY-FIREWALL', 'kube-proxy firewall rules'),
  jump('filter', 'FORWARD', 'KUBE-PROXY-FIREWALL', 'kube-proxy firewall rules'),
  jump('filter', 'INPUT', 'KUBE-IPVS-FILTER', 'kubernetes ipvs access filter'),
  jump('filter', 'OUTPUT', 'KUBE-IPVS-OUT-FILTER', 'kubernetes ipvs access filter'),
];

function jump(table: IpvsTable, from: string, to: string, comment: string): IpvsJump {
  return { table, from, rule: `-m comment --comment "${comment}" -j ${to}` };
}

/**
 * The rules around IPVS and the sets: what is masqueraded, what is let through, what is kept from the node's own ports. Their number
 * does not grow with the Services (but with load balancers whose source ranges leave the node out). Pure.
 */
export function renderIpvsChains(wanted: Wanted, family: IpFamily, options: IpvsRenderOptions): IpvsChains {
  const isEmpty = (key: SetKey) => wanted.elements(key).size === 0;
  const match = (key: SetKey, what: string) => `-m set --match-set ${setName(key, family)} ${what}`;
  const commented = (key: SetKey, what: string) => `-m comment --comment "${SETS[key].comment}" ${match(key, what)}`;
  const whenFilled = (key: SetKey, ...rules: string[]) => (isEmpty(key) ? [] : rules);
  const mark = `0x${options.masqueradeMark.toString(16).padStart(8, '0')}`;

  const external = (key: SetKey) => [
    // From another machine: neither from a bridge's port nor from this host.
    `${commented(key, 'dst,dst')} -m physdev ! --physdev-is-in -m addrtype ! --src-type LOCAL -j ACCEPT`,
    `${commented(key, 'dst,dst')} -m addrtype --dst-type LOCAL -j ACCEPT`,
  ];
  const nodePorts = (['TCP', 'UDP', 'SCTP-HASH'] as const).flatMap((suffix) => {
    const what = suffix === 'SCTP-HASH' ? 'dst,dst' : 'dst';
    const protocol = `-p ${suffix.slice(0, suffix === 'SCTP-HASH' ? 4 : 3).toLowerCase()}`;
    const local = `KUBE-NODE-PORT-LOCAL-${suffix}` as const;
    const all = `KUBE-NODE-PORT-${suffix}` as const;
    return [
      ...whenFilled(local, `${protocol} ${commented(local, what)} -j RETURN`),
      ...whenFilled(all, `${protocol} ${commented(all, what)} -j KUBE-MARK-MASQ`),
    ];
  });

  const nat: [string, string[]][] = [
    [
      'KUBE-SERVICES',
      [
        `-s ${family === 'IPv4' ? '127.0.0.0/8' : '::1/128'} -j RETURN`,
        ...whenFilled('KUBE-LOAD-BALANCER', `${commented('KUBE-LOAD-BALANCER', 'dst,dst')} -j KUBE-LOAD-BALANCER`),
        ...whenFilled(
          'KUBE-CLUSTER-IP',
          clusterIpRule(options, (what) => commented('KUBE-CLUSTER-IP', what)),
        ),
        ...whenFilled(
          'KUBE-EXTERNAL-IP',
          `${commented('KUBE-EXTERNAL-IP', 'dst,dst')} -j KUBE-MARK-MASQ`,
          ...external('KUBE-EXTERNAL-IP'),
        ),
        ...whenFilled('KUBE-EXTERNAL-IP-LOCAL', ...external('KUBE-EXTERNAL-IP-LOCAL')),
        '-m addrtype --dst-type LOCAL -j KUBE-NODE-PORT',
        ...whenFilled('KUBE-CLUSTER-IP', `${match('KUBE-CLUSTER-IP', 'dst,dst')} -j ACCEPT`),
        ...whenFilled('KUBE-LOAD-BALANCER', `${match('KUBE-LOAD-BALANCER', 'dst,dst')} -j ACCEPT`),
      ],
    ],
    [
      'KUBE-POSTROUTING',
      [
        ...whenFilled('KUBE-LOOP-BACK', `${commented('KUBE-LOOP-BACK', 'dst,dst,src')} -j MASQUERADE`),
        `-m mark ! --mark ${mark}/${mark} -j RETURN`,
        `-j MARK --xor-mark ${mark}`,
        `-m comment --comment "kubernetes service traffic requiring SNAT" -j MASQUERADE${options.hasRandomFully ? ' --random-fully' : ''}`,
      ],
    ],
    ['KUBE-NODE-PORT', nodePorts],
    [
      'KUBE-LOAD-BALANCER',
      [
        ...whenFilled('KUBE-LOAD-BALANCER-LOCAL', `${commented('KUBE-LOAD-BALANCER-LOCAL', 'dst,dst')} -j RETURN`),
        '-j KUBE-MARK-MASQ',
      ],
    ],
    ['KUBE-MARK-MASQ', [`-j MARK --or-mark ${mark}`]],
  ];
  const filter: [string, string[]][] = [
    [
      'KUBE-FORWARD',
      [
        `-m comment --comment "kubernetes forwarding rules" -m mark --mark ${mark}/${mark} -j ACCEPT`,
        '-m comment --comment "kubernetes forwarding conntrack rule" -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT',
      ],
    ],
    ['KUBE-NODE-PORT', [`${commented('KUBE-HEALTH-CHECK-NODE-PORT', 'dst')} -j ACCEPT`]],
    [
      'KUBE-PROXY-FIREWALL',
      whenFilled(
        'KUBE-LOAD-BALANCER-FW',
        `${commented('KUBE-LOAD-BALANCER-FW', 'dst,dst')} -j KUBE-SOURCE-RANGES-FIREWALL`,
      ),
    ],
    [
      'KUBE-SOURCE-RANGES-FIREWALL',
      [
        ...(['KUBE-LOAD-BALANCER-SOURCE-CIDR', 'KUBE-LOAD-BALANCER-SOURCE-IP'] as const).flatMap((key) =>
          whenFilled(key, `${commented(key, 'dst,dst,src')} -j RETURN`),
        ),
        '-j DROP',
      ],
    ],
    // Addresses of Services are the host's own here: what listens on the host must not be reached through them.
    [
      'KUBE-IPVS-FILTER',
      [
        ...whenFilled(
          'BERTH-NO-LOCAL-ENDPOINTS',
          [
            '-m conntrack --ctstate NEW',
            matchLocal(options.localDetector, false),
            commented('BERTH-NO-LOCAL-ENDPOINTS', 'dst,dst'),
            '-m addrtype ! --src-type LOCAL -j DROP',
          ]
            .filter(Boolean)
            .join(' '),
        ),
        ...(['KUBE-LOAD-BALANCER', 'KUBE-CLUSTER-IP', 'KUBE-EXTERNAL-IP', 'KUBE-EXTERNAL-IP-LOCAL'] as const).map(
          (key) => `${match(key, 'dst,dst')} -j RETURN`,
        ),
        `${match('KUBE-HEALTH-CHECK-NODE-PORT', 'dst')} -j RETURN`,
        `-m conntrack --ctstate NEW ${match('KUBE-IPVS-IPS', 'dst')} -j REJECT`,
      ],
    ],
    ['KUBE-IPVS-OUT-FILTER', wanted.outFilter()],
  ];
  return new Map<IpvsTable, Map<string, string[]>>([
    ['nat', new Map(nat)],
    ['filter', new Map(filter)],
  ]);
}

/** Which packets to ClusterIPs are masqueraded. */
function clusterIpRule(options: IpvsRenderOptions, matched: (what: string) => string): string {
  if (options.masqueradeAll) return `${matched('dst,dst')} -j KUBE-MARK-MASQ`;
  const notLocal = matchLocal(options.localDetector, false);
  if (notLocal) return `${matched('dst,dst')} ${notLocal} -j KUBE-MARK-MASQ`;
  // Nobody can tell pods from others. But the node's own packets carry a Service's address as their source, since all of these
  // are on kube-ipvs0, and no endpoint could answer that.
  return `${matched('src,dst')} -j KUBE-MARK-MASQ`;
}
