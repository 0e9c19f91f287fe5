/** The overlay under a real Kubernetes: its service account, and what it says of a node. */
import type { ExecutionContext } from 'ava';
import { renderKubeconfig } from '../../src/kube/kubeconfig.ts';
import type { Node, Secret } from '../../src/kube/types.ts';
import { type ClusterHost, until } from './cluster-host.ts';
import type { RealKubernetes } from './real-kubernetes.ts';

export const OVERLAY_ACCOUNT = 'system:serviceaccount:kube-system:berth-overlay';

/** A kubeconfig of the overlay's service account, once its token is there (examples/rbac/overlay.yaml). */
export async function overlayByToken(cluster: ClusterHost, kubernetes: RealKubernetes): Promise<string> {
  const encoded = await until('the token is there', async () => {
    const { data } = await cluster.get<Secret>('secret', 'berth-overlay-token', '-n', 'kube-system');
    return data?.token;
  });
  const token = Buffer.from(encoded, 'base64').toString();
  return renderKubeconfig({ server: kubernetes.url, caPem: kubernetes.caPem, token });
}

/** All nodes say how their pods are reached, and that it works. */
export async function tellOfOverlay(t: ExecutionContext, cluster: ClusterHost, backendType: string): Promise<void> {
  const stateOf = ({ status }: Node) => status?.conditions?.find(({ type }) => type === 'NetworkUnavailable');
  const nodes = await until('all nodes say how their pods are reached', async () => {
    const found = await cluster.list<Node>('nodes');
    return found.every(stateOf) && found;
  });
  for (const node of nodes) {
    t.is(node.metadata.annotations?.['flannel.alpha.coreos.com/backend-type'], backendType);
    t.like(stateOf(node), { status: 'False', reason: 'FlannelIsUp' });
  }
}
