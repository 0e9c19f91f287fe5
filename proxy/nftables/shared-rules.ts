import type { BaseChainHook, Chain, Family, Rule, Statement } from '../../src/netfilter/nfnetlink/rule.ts';
import type { LocalDetector } from '../local-detector.ts';
import type { NodeRenderOptions } from '../mode.ts';
import { CHAIN } from './names.ts';
import {
  CLUSTER_IPS,
  FIREWALL_IPS,
  HAIRPIN_CONNECTIONS,
  NO_ENDPOINT_NODEPORTS,
  NO_ENDPOINT_SERVICES,
  NODEPORT_IPS,
  SERVICE_IPS,
  SERVICE_NODEPORTS,
} from './sets.ts';

const DESTINATION = ['daddr', 'l4proto', 'dport'] as const;
const PORT = ['l4proto', 'dport'] as const;
const IS_NEW: Statement = { kind: 'connection-new' };

/** NF_IP_PRI_FILTER, NF_IP_PRI_NAT_DST and NF_IP_PRI_NAT_SRC. The firewall looks at addresses before they are translated. */
const FILTER = 0;
const PRE_DNAT = -110;
const DNAT = -100;
const SNAT = 100;

/**
 * The chains that are there whatever the services are: the hooks, and what each of them asks the sets. In an order in
 * which they can be written: a chain comes before those that lead to it.
 */
export function buildSharedChains(family: Family, options: NodeRenderOptions): Chain[] {
  const jump = (chain: string, ...statements: Statement[]): Rule => ({
    statements: [...statements, { kind: 'jump', chain }],
  });
  const base = (name: string, hook: BaseChainHook['hook'], priority: number, ...rules: Rule[]): Chain => ({
    name,
    base: { type: name.startsWith('nat') ? 'nat' : 'filter', hook, priority },
    rules,
  });
  return [
    { name: CHAIN.reject, rules: [{ statements: [{ kind: 'reject' }] }] },
    { name: CHAIN.firewallCheck, rules: [verdictRule(DESTINATION, FIREWALL_IPS.name)] },
    { name: CHAIN.services, rules: servicesRules(family, options) },
    {
      name: CHAIN.nodePortEndpointsCheck,
      rules: [verdictRule(PORT, NO_ENDPOINT_NODEPORTS.name, ...takesNodePorts(family, options))],
    },
    { name: CHAIN.serviceEndpointsCheck, rules: [verdictRule(DESTINATION, NO_ENDPOINT_SERVICES.name)] },
    { name: CHAIN.clusterIpsCheck, rules: clusterIpsRules(options) },
    { name: CHAIN.masquerading, rules: masqueradingRules(options) },
    base(CHAIN.filterPreroutingPreDnat, 'prerouting', PRE_DNAT, jump(CHAIN.firewallCheck, IS_NEW)),
    base(CHAIN.filterOutputPreDnat, 'output', PRE_DNAT, jump(CHAIN.firewallCheck, IS_NEW)),
    base(CHAIN.natPrerouting, 'prerouting', DNAT, jump(CHAIN.services)),
    base(CHAIN.natOutput, 'output', DNAT, jump(CHAIN.services)),
    base(
      CHAIN.filterInput,
      'input',
      FILTER,
      jump(CHAIN.nodePortEndpointsCheck, IS_NEW),
      jump(CHAIN.serviceEndpointsCheck, IS_NEW),
    ),
    base(
      CHAIN.filterForward,
      'forward',
      FILTER,
      jump(CHAIN.serviceEndpointsCheck, IS_NEW),
      jump(CHAIN.clusterIpsCheck, IS_NEW),
    ),
    base(
      CHAIN.filterOutput,
      'output',
      FILTER,
      jump(CHAIN.serviceEndpointsCheck, IS_NEW),
      jump(CHAIN.clusterIpsCheck, IS_NEW),
    ),
    base(CHAIN.natPostrouting, 'postrouting', SNAT, jump(CHAIN.masquerading)),
  ];
}

function verdictRule(fields: readonly ('daddr' | 'l4proto' | 'dport')[], map: string, ...matches: Statement[]): Rule {
  return { statements: [...matches, { kind: 'verdict-map', fields, map }] };
}

function servicesRules(family: Family, options: NodeRenderOptions): Rule[] {
  const elsewhere = options.masqueradeAll ? [] : matchLocal(options.localDetector, false);
  const masquerade: Rule[] = elsewhere
    ? [
        {
          statements: [
            { kind: 'in-set', fields: ['daddr'], set: CLUSTER_IPS.name },
            ...elsewhere,
            { kind: 'set-mark', bits: options.masqueradeMark },
          ],
          comment: options.masqueradeAll
            ? 'masquerade all traffic to ClusterIPs'
            : 'masquerade traffic to ClusterIPs that is not from a pod',
        },
      ]
    : [];
  return [
    ...masquerade,
    verdictRule(DESTINATION, SERVICE_IPS.name),
    verdictRule(PORT, SERVICE_NODEPORTS.name, ...takesNodePorts(family, options)),
  ];
}

/** Which destinations are this node's for the purpose of NodePorts. Loopback never is: nft cannot route answers from there. */
function takesNodePorts(family: Family, { nodePortAddresses }: NodeRenderOptions): Statement[] {
  if (nodePortAddresses) return [{ kind: 'in-set', fields: ['daddr'], set: NODEPORT_IPS.name }];
  return [
    { kind: 'local-address', field: 'daddr' },
    { kind: 'address', field: 'daddr', cidr: family === 'ip' ? '127.0.0.0/8' : '::1', isNegated: true },
  ];
}

/** After DNAT: whatever still is for a ClusterIP is for a port that no service has. */
function clusterIpsRules({ serviceCidrs }: NodeRenderOptions): Rule[] {
  return [
    {
      statements: [{ kind: 'in-set', fields: ['daddr'], set: CLUSTER_IPS.name }, { kind: 'reject' }],
      comment: 'ports that no service has',
    },
    ...serviceCidrs.map(
      (cidr): Rule => ({
        statements: [{ kind: 'address', field: 'daddr', cidr }, { kind: 'drop' }],
        comment: 'ClusterIPs that no service has',
      }),
    ),
  ];
}

function masqueradingRules({ masqueradeMark }: NodeRenderOptions): Rule[] {
  return [
    // Cleared, lest the packet is masqueraded again when it comes past a second time.
    { statements: [{ kind: 'take-mark', bits: masqueradeMark }, { kind: 'masquerade' }] },
    {
      statements: [
        { kind: 'connection-translated' },
        { kind: 'in-set', fields: ['saddr', 'daddr', 'l4proto', 'dport'], set: HAIRPIN_CONNECTIONS.name },
        { kind: 'masquerade' },
      ],
      comment: 'a pod that reaches itself through its own service',
    },
  ];
}

/** "From a local pod", or its contrary; undefined where there is no way to tell. */
export function matchLocal(detector: LocalDetector, isLocal: boolean): Statement[] | undefined {
  const isNegated = !isLocal;
  switch (detector.kind) {
    case 'none':
      return undefined;
    case 'cidr':
      return [{ kind: 'address', field: 'saddr', cidr: detector.cidr, isNegated }];
    case 'bridge':
      return [{ kind: 'in-interface', name: detector.name, isNegated }];
    case 'prefix':
      return [{ kind: 'in-interface', name: `${detector.prefix}*`, isNegated }];
  }
}
