import type { Pod } from '../../../src/kube/types.ts';
import { isSidecar } from '../requests.ts';

interface UsedPort {
  hostPort: number;
  protocol: string;
  hostIP: string;
}

/** Whether the pod wants a port of the node that another has. Plain init containers are gone before anybody asks. */
export function hostPortsClash(pod: Pod, others: readonly Pod[]): boolean {
  const wanted = hostPortsOf(pod);
  if (wanted.length === 0) return false;
  const taken = others.flatMap(hostPortsOf);
  return wanted.some((port) => taken.some((other) => clash(port, other)));
}

function hostPortsOf(pod: Pod): UsedPort[] {
  return [...pod.spec.containers, ...(pod.spec.initContainers ?? []).filter(isSidecar)].flatMap((container) =>
    (container.ports ?? []).flatMap(({ hostPort, protocol, hostIP }) =>
      hostPort ? [{ hostPort, protocol: protocol ?? 'TCP', hostIP: hostIP || '0.0.0.0' }] : [],
    ),
  );
}

function clash(left: UsedPort, right: UsedPort): boolean {
  const anyAddress = left.hostIP === '0.0.0.0' || right.hostIP === '0.0.0.0';
  return (
    left.hostPort === right.hostPort && left.protocol === right.protocol && (anyAddress || left.hostIP === right.hostIP)
  );
}
