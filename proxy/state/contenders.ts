import type { Service } from '../../src/kube/types.ts';
import { type Claim, type ClaimKind, rankOf } from './claims.ts';
import type { ServicePort } from './model.ts';
import type { OnProblem } from './problem.ts';

/** The owner of what processes of the node listen on. */
export const PROCESSES = '\u0000processes';

/** What the node port of a Service is claimed as, and a port that a process listens on. */
export function nodePortKey(protocol: string, port: number): string {
  return `node/${protocol}/${port}`;
}

const addressKey = (address: string, { protocol, port }: ServicePort) => `${address}/${protocol}/${port}`;

/** Everything that a Service's ports ask for. Pure. */
export function claimsOf(name: string, { metadata }: Service, ports: readonly ServicePort[]): Claim[] {
  const claims = new Map<string, Claim>();
  const add = (kind: ClaimKind, key: string) => {
    if (!claims.has(key)) claims.set(key, { key, rank: rankOf(kind, metadata.creationTimestamp ?? '', name) });
  };
  for (const port of ports) {
    add('clusterIP', addressKey(port.clusterIp, port));
    for (const address of port.loadBalancerVips) add('loadBalancer', addressKey(address, port));
    for (const address of port.externalIps) add('externalIP', addressKey(address, port));
    if (port.nodePort !== 0) add('nodePort', nodePortKey(port.protocol, port.nodePort));
  }
  return [...claims.values()];
}

/**
 * The ports with what is theirs alone: what belongs to another Service, a process, or an earlier port of the same Service is left out.
 * A load balancer's address that is also an external IP counts as the former, which may have source ranges.
 */
export function keepOwn(
  name: string,
  ports: readonly ServicePort[],
  holder: (key: string) => string | undefined,
  onProblem: OnProblem,
): ServicePort[] {
  const taken = new Set<string>();
  const isOwn = (what: string, key: string): boolean => {
    const owner = holder(key) ?? name;
    if (owner === name && !taken.has(key)) {
      taken.add(key);
      return true;
    }
    if (owner === PROCESSES) onProblem('NodePortInUse', `${what}: a process of this node listens on it`);
    else if (owner !== name) onProblem('AddressInUse', `${what}: it belongs to the Service ${owner}`);
    return false;
  };
  return ports.flatMap((port) => {
    const at = `port ${port.port}/${port.protocol}`;
    if (taken.has(addressKey(port.clusterIp, port)))
      onProblem('InvalidService', `${at} is there twice; the first one counts`);
    if (!isOwn(`cluster IP ${port.clusterIp}, ${at}`, addressKey(port.clusterIp, port))) return [];
    const own = (what: string) => (address: string) => isOwn(`${what} ${address}, ${at}`, addressKey(address, port));
    const loadBalancerVips = port.loadBalancerVips.filter(own('load balancer address'));
    const externalIps = port.externalIps.filter(own('external IP'));
    const { nodePort } = port;
    const hasNodePort =
      nodePort !== 0 && isOwn(`node port ${nodePort}/${port.protocol}`, nodePortKey(port.protocol, nodePort));
    const isWhole =
      loadBalancerVips.length === port.loadBalancerVips.length &&
      externalIps.length === port.externalIps.length &&
      hasNodePort === (nodePort !== 0);
    return isWhole ? [port] : [{ ...port, loadBalancerVips, externalIps, nodePort: hasNodePort ? nodePort : 0 }];
  });
}
