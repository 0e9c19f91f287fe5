import type { NodeRenderOptions } from '../mode.ts';
import { cidrContains } from '../state/addresses.ts';
import { categorizeEndpoints } from '../state/categorize.ts';
import type { Endpoint, ProxySnapshot, ServicePortState } from '../state/model.ts';
import type { End } from './ends.ts';
import { type FoundFrontend, servicesAt, type Target } from './frontends.ts';
import type { Packet } from './packet.ts';

/** Why a service port does or does not answer, in sentences, the most telling first. */
export function explainFrontend(
  found: FoundFrontend,
  packet: Packet,
  ends: readonly End[],
  node: NodeRenderOptions,
): string[] {
  const { state, frontend } = found;
  const { port, endpoints } = state;
  const picked = categorizeEndpoints(endpoints, port, node.node);
  const reasons: string[] = [];
  if (!picked.hasAny) reasons.push(whyNoEndpoint(state));
  const isInternal = frontend.kind === 'ClusterIP';
  const isLocalPolicy = isInternal ? port.isInternalPolicyLocal : port.isExternalPolicyLocal;
  const policy = isInternal ? 'internalTrafficPolicy' : 'externalTrafficPolicy';
  if (picked.hasAny && isLocalPolicy && picked.local.length === 0)
    reasons.push(
      `${policy} is Local, and of ${count(endpoints.length, 'endpoint')} none is on this node (${node.node.nodeName})`,
    );
  else if (isLocalPolicy && picked.local.length < endpoints.length)
    reasons.push(`${policy} is Local: ${picked.local.length} of ${count(endpoints.length, 'endpoint')} on this node`);
  const ready = endpoints.filter(({ isReady }) => isReady);
  if (picked.hasAny && ready.length === 0)
    reasons.push('no endpoint is ready; those that are terminating and still serve carry the load');
  if (ready.length > 0 && picked.cluster.length > 0 && picked.cluster.length < ready.length)
    reasons.push(`topology hints keep traffic near: ${picked.cluster.length} of ${ready.length} ready endpoints`);
  const notReady = endpoints.filter((endpoint) => !endpoint.isReady);
  if (picked.hasAny && notReady.length > 0) reasons.push(`left out: ${listEndpoints(notReady)}`);
  if (frontend.kind === 'LoadBalancerIP' && port.loadBalancerSourceRanges.length > 0) {
    const isAdmitted = port.loadBalancerSourceRanges.some((range) => cidrContains(range, packet.source));
    const ranges = port.loadBalancerSourceRanges.join(', ');
    if (!isAdmitted) reasons.push(`${packet.source} is not in loadBalancerSourceRanges (${ranges})`);
  }
  if (
    frontend.kind === 'NodePort' &&
    node.nodePortAddresses !== undefined &&
    !node.nodePortAddresses.includes(packet.destination)
  )
    reasons.push(
      `node ports answer at ${node.nodePortAddresses.join(', ') || 'no address'} alone (nodePortAddresses), not at ${packet.destination}`,
    );
  if (port.affinitySeconds !== undefined)
    reasons.push(
      `sessionAffinity: a client that came within ${port.affinitySeconds} s goes to the same endpoint again`,
    );
  if (ends.some(({ isMasqueraded }) => isMasqueraded)) reasons.push('endpoints see an address of this node as client');
  return reasons;
}

/** Why nothing answers at a destination that is no service port's. */
export function explainStranger(snapshot: ProxySnapshot, target: Target, node: NodeRenderOptions): string[] {
  const owners = servicesAt(snapshot, target.address);
  const reasons = owners.map((name) => {
    const ports = snapshot.services.get(name)!.ports.map(({ port }) => `${port.port}/${port.protocol}`);
    return `${target.address} is Service ${name}, whose ports are ${ports.join(', ')}, not ${target.port}/${target.protocol}`;
  });
  if (owners.length > 0) return reasons;
  if (node.serviceCidrs.some((cidr) => cidrContains(cidr, target.address)))
    return [`no Service has the address ${target.address}`];
  return [`no Service of this cluster answers at ${target.address} port ${target.port}/${target.protocol}`];
}

function whyNoEndpoint({ port, endpoints }: ServicePortState): string {
  const name = port.portName ? `port "${port.portName}"` : `port ${port.port}/${port.protocol}`;
  if (endpoints.length === 0)
    return `there is no endpoint for ${name}: the selector matches no pod with an address, or no EndpointSlice has such a port`;
  return `no endpoint for ${name} is ready: ${listEndpoints(endpoints)}`;
}

const LISTED = 5;

function listEndpoints(endpoints: readonly Endpoint[]): string {
  const some = endpoints.slice(0, LISTED).map((endpoint) => `${endpoint.address} (${conditionOf(endpoint)})`);
  return endpoints.length > LISTED ? `${some.join(', ')} and ${endpoints.length - LISTED} more` : some.join(', ');
}

export function conditionOf({ isReady, isServing, isTerminating }: Endpoint): string {
  if (isTerminating) return isServing ? 'terminating, still serving' : 'terminating';
  return isReady ? 'ready' : 'not ready';
}

function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? '' : 's'}`;
}
