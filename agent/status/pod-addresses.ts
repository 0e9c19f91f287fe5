import { isIPv6 } from 'node:net';
import type { Pod, PodStatus } from '../../src/kube/types.ts';
import type { PodRuntimeStatus } from '../pods/ports.ts';

/** hostIP(s) and podIP(s). Without a node address (standalone) neither hostIP nor a host-network pod's addresses are known. */
export function computePodAddresses(
  pod: Pod,
  runtime: PodRuntimeStatus,
  previous: PodStatus | undefined,
  hostIps: readonly string[],
): Pick<PodStatus, 'hostIP' | 'hostIPs' | 'podIP' | 'podIPs'> {
  const [hostIP] = hostIps;
  const podIps = pod.spec.hostNetwork
    ? hostNetworkIps(previous, hostIps)
    : podNetworkIps(runtime, previous, hostIP !== undefined && isIPv6(hostIP));
  return {
    ...(hostIP !== undefined && { hostIP, hostIPs: hostIps.map((ip) => ({ ip })) }),
    ...(podIps[0] !== undefined && { podIP: podIps[0], podIPs: podIps.map((ip) => ({ ip })) }),
  };
}

/** The first of the node's primary family, then the first of the other. */
function podNetworkIps(runtime: PodRuntimeStatus, previous: PodStatus | undefined, primaryIsIpv6: boolean): string[] {
  const first = (ipv6: boolean) => runtime.ips.filter((ip) => isIPv6(ip) === ipv6).slice(0, 1);
  const ips = [...first(primaryIsIpv6), ...first(!primaryIsIpv6)];
  const running = runtime.sandboxes.some(({ state }) => state === 'running');
  // A pod that has ended keeps the address it had.
  return ips.length > 0 || running ? ips : knownIps(previous);
}

/** Set once; only a second family may be added later. */
function hostNetworkIps(previous: PodStatus | undefined, hostIps: readonly string[]): string[] {
  const known = knownIps(previous);
  if (known.length === 0) return [...hostIps];
  const second = hostIps[1];
  return known.length === 1 && second !== undefined && isIPv6(second) !== isIPv6(known[0]!)
    ? [...known, second]
    : known;
}

function knownIps(status: PodStatus | undefined): string[] {
  return (status?.podIPs ?? []).flatMap(({ ip }) => ip ?? []);
}
