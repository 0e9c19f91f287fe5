import { createKubeClient } from '../../src/kube/client.ts';
import { loadKubeconfig } from '../../src/kube/kubeconfig.ts';

/** What the proxy and the routes read with the node's credentials, beyond what the Node authorizer gives every node. */
const NEEDED = [
  { part: 'the service proxy', group: 'discovery.k8s.io', resource: 'endpointslices' },
  { part: 'the routes to other nodes', group: '', resource: 'nodes' },
];

/**
 * Which parts of the node a real cluster does not serve yet, a sentence each: nobody but kube-proxy's own identity may read endpoints there, unless somebody allows it.
 * What the API server does not answer is left to the daemon's log.
 */
export async function whatNodesMayNot(kubeconfig: string): Promise<string[]> {
  const client = createKubeClient(loadKubeconfig(kubeconfig, { userAgent: 'berth-join' }));
  try {
    const denied = await Promise.all(
      NEEDED.map(async ({ part, group, resource }) => {
        const spec = { resourceAttributes: { group, resource, verb: 'list' } };
        const answer = await client
          .raw('/apis/authorization.k8s.io/v1/selfsubjectaccessreviews', {
            method: 'POST',
            headers: { 'content-type': 'application/json' },
            body: JSON.stringify({
              apiVersion: 'authorization.k8s.io/v1',
              kind: 'SelfSubjectAccessReview',
              metadata: {},
              spec,
            }),
          })
          .then(async ({ body }) => (await body.json()) as { status?: { allowed?: boolean } })
          .catch(() => undefined);
        return answer?.status?.allowed === false ? `${part} (list ${resource})` : undefined;
      }),
    );
    const parts = denied.filter((one) => one !== undefined);
    if (parts.length === 0) return [];
    return [
      `The cluster does not allow its nodes what these need: ${parts.join(', ')}. An administrator allows it with: kubectl apply -f examples/rbac/join.yaml`,
    ];
  } finally {
    await client.close();
  }
}
