import type { Chain, Protocol, Rule, Statement } from '../../src/netfilter/nfnetlink/rule.ts';
import type { SetDefinition } from '../../src/netfilter/nfnetlink/set.ts';
import type { NodeRenderOptions } from '../mode.ts';
import type { CategorizedEndpoints } from '../state/categorize.ts';
import { type Endpoint, isExternallyAccessible, type ServicePort } from '../state/model.ts';
import type { ServicePortNames } from './names.ts';
import { matchLocal } from './shared-rules.ts';

/**
 * The chains of a service port with session affinity: one that looks a client up in the sets of its endpoints, and one for each
 * endpoint that notes the client in its set. It is kube-proxy's way, with a set and a chain for each endpoint, and the only thing in
 * the table whose cost grows with the number of endpoints: an endpoint's clients are forgotten with its set, and with nothing else.
 */
export function buildAffinity(
  port: ServicePort,
  names: ServicePortNames,
  endpoints: CategorizedEndpoints,
  options: NodeRenderOptions,
): { chains: Chain[]; sets: SetDefinition[] } {
  const { affinitySeconds } = port;
  if (affinitySeconds === undefined) return { chains: [], sets: [] };
  const protocol = port.protocol.toLowerCase() as Protocol;
  const chains: Chain[] = [];
  const sets: SetDefinition[] = [];
  for (const endpoint of endpoints.reachable) {
    const { chain, affinitySet } = names.endpoint(endpoint);
    sets.push({
      name: affinitySet,
      key: ['address'],
      dynamic: { timeoutSeconds: affinitySeconds },
    });
    chains.push({ name: chain, rules: rememberingRules(protocol, endpoint, affinitySet) });
  }
  for (const [name, targets] of [
    [names.cluster, endpoints.cluster],
    [names.local, endpoints.local],
  ] as const)
    if (targets.length > 0) chains.push({ name, rules: returningRules(names, targets) });
  if (endpoints.hasAny && isExternallyAccessible(port))
    chains.push({ name: names.external, rules: externalRules(port, names, endpoints, options) });
  return { chains, sets };
}

function rememberingRules(protocol: Protocol, { ip, port }: Endpoint, set: string): Rule[] {
  return [
    { statements: [{ kind: 'remember', set }] },
    {
      statements: [
        { kind: 'protocol', protocol },
        { kind: 'dnat', address: ip, port },
      ],
    },
  ];
}

/** Back to the endpoint that the client was sent to before, else one of n by lot: the i-th of what the ones before have left. */
function returningRules(names: ServicePortNames, targets: readonly Endpoint[]): Rule[] {
  const named = targets.map((endpoint) => names.endpoint(endpoint));
  return [
    ...named.map(
      ({ chain, affinitySet }): Rule => ({
        statements: [
          { kind: 'in-set', fields: ['saddr'], set: affinitySet },
          { kind: 'goto', chain },
        ],
      }),
    ),
    ...named.map(({ chain }, index): Rule => {
      const left = named.length - index;
      const chance: Statement[] = left === 1 ? [] : [{ kind: 'chance', oneIn: left }];
      return { statements: [...chance, { kind: 'goto', chain }] };
    }),
  ];
}

function externalRules(
  port: ServicePort,
  names: ServicePortNames,
  endpoints: CategorizedEndpoints,
  options: NodeRenderOptions,
): Rule[] {
  const mark: Statement = { kind: 'set-mark', bits: options.masqueradeMark };
  const toCluster: Statement = { kind: 'goto', chain: names.cluster };
  // The endpoint may be on another node, whose answer must come back through here.
  if (!port.isExternalPolicyLocal) return [{ statements: [mark] }, { statements: [toCluster] }];
  // Pods and the node itself are not the policy's subject: they reach all endpoints, as if they had gone out and come back in.
  const fromPods = matchLocal(options.localDetector, true);
  const fromNode: Statement = { kind: 'local-address', field: 'saddr' };
  return [
    ...(fromPods ? [{ statements: [...fromPods, toCluster], comment: 'short-circuit pod traffic' }] : []),
    { statements: [fromNode, mark], comment: 'masquerade local traffic' },
    { statements: [fromNode, toCluster], comment: 'short-circuit local traffic' },
    ...(endpoints.local.length > 0 ? [{ statements: [{ kind: 'goto', chain: names.local } as const] }] : []),
  ];
}
