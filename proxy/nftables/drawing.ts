import type { Chain, PacketField, Protocol, Rule, Statement } from '../../src/netfilter/nfnetlink/rule.ts';
import type { SetDefinition } from '../../src/netfilter/nfnetlink/set.ts';
import type { NodeRenderOptions } from '../mode.ts';
import {
  NODEPORT_ALL_ENDPOINTS,
  NODEPORT_ENDPOINTS,
  SERVICE_ALL_ENDPOINTS,
  SERVICE_ENDPOINTS,
  SERVICE_IPS,
  SERVICE_NODEPORTS,
} from './sets.ts';
import { matchLocal } from './shared-rules.ts';

/** Where packets to services come in by: the map that knows them, and the ones that know their endpoints. */
export interface Entrance {
  readonly verdicts: SetDefinition;
  readonly endpoints: SetDefinition;
  readonly allEndpoints: SetDefinition;
  readonly fields: readonly PacketField[];
}

export const BY_ADDRESS: Entrance = {
  verdicts: SERVICE_IPS,
  endpoints: SERVICE_ENDPOINTS,
  allEndpoints: SERVICE_ALL_ENDPOINTS,
  fields: ['daddr', 'l4proto', 'dport'],
};

export const BY_NODEPORT: Entrance = {
  verdicts: SERVICE_NODEPORTS,
  endpoints: NODEPORT_ENDPOINTS,
  allEndpoints: NODEPORT_ALL_ENDPOINTS,
  fields: ['l4proto', 'dport'],
};

/*
 * A chain draws one of so many endpoints, for every destination that has as many. So there are as many of these chains
 * as there are different numbers of endpoints, and a service that gains one is led to the next chain.
 */

/** For traffic to ClusterIPs. */
export function drawingChain(protocol: Protocol, count: number): Chain {
  return { name: `endpoints-${protocol}-${count}`, rules: [drawingRule(BY_ADDRESS, protocol, count)] };
}

/** For external traffic, which an endpoint on another node could not answer without going back through here. */
export function externalDrawingChain(
  entrance: Entrance,
  protocol: Protocol,
  count: number,
  { masqueradeMark }: NodeRenderOptions,
): Chain {
  return {
    name: `${prefix(entrance)}-${protocol}-${count}`,
    rules: [{ statements: [{ kind: 'set-mark', bits: masqueradeMark }] }, drawingRule(entrance, protocol, count)],
  };
}

/**
 * For external traffic under policy Local: pods and the node itself are not the policy's subject and draw from all `allCount`
 * endpoints, as if they had gone out and come back in; others from the `localCount` on this node. Those that find none
 * go on, and are dropped for it later.
 */
export function localDrawingChain(
  entrance: Entrance,
  protocol: Protocol,
  { localCount, allCount }: { localCount: number; allCount: number },
  options: NodeRenderOptions,
): Chain {
  const fromPods = matchLocal(options.localDetector, true);
  const fromNode: Statement = { kind: 'local-address', field: 'saddr' };
  const all = drawing(entrance, protocol, allCount, entrance.allEndpoints);
  return {
    name: `${prefix(entrance)}-local-${protocol}-${localCount}-of-${allCount}`,
    rules: [
      ...(fromPods ? [{ statements: [...fromPods, all], comment: 'short-circuit pod traffic' }] : []),
      {
        statements: [fromNode, { kind: 'set-mark', bits: options.masqueradeMark }],
        comment: 'masquerade local traffic',
      },
      { statements: [fromNode, all], comment: 'short-circuit local traffic' },
      ...(localCount > 0 ? [drawingRule(entrance, protocol, localCount)] : []),
    ],
  };
}

function prefix(entrance: Entrance): string {
  return entrance === BY_ADDRESS ? 'external' : 'nodeport';
}

function drawingRule(entrance: Entrance, protocol: Protocol, count: number): Rule {
  return { statements: [drawing(entrance, protocol, count, entrance.endpoints)] };
}

function drawing({ fields }: Entrance, protocol: Protocol, count: number, map: SetDefinition): Statement {
  return { kind: 'dnat-random', protocol, fields, count, map: map.name };
}
