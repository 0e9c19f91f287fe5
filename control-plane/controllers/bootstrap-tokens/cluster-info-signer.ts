import { signDetached } from '../../../src/auth/bootstrap-token.ts';
import { configMaps as configMapResource, secrets as secretResource } from '../../../src/kube/resources.ts';
import { isExpired, NAMESPACE, parseTokenSecret, SECRET_TYPE } from '../../bootstrap-tokens/token-secret.ts';
import { CLUSTER_INFO, CLUSTER_INFO_NAMESPACE } from '../../resources/cluster-info.ts';
import { type Controller, type ControllerDependencies, createReconciler } from '../controller.ts';

const PREFIX = 'jws-kubeconfig-';
const KEY = 'cluster-info';

/** Signs the public facts of the cluster with every bootstrap token that may: a host that has a token can tell them from forged ones. */
export function createClusterInfoSigner(dependencies: ControllerDependencies): Controller {
  const { client, clock, informers } = dependencies;
  const secrets = informers.informer(secretResource, { namespace: NAMESPACE, fieldSelector: `type=${SECRET_TYPE}` });
  const maps = informers.informer(configMapResource, {
    namespace: CLUSTER_INFO_NAMESPACE,
    fieldSelector: `metadata.name=${CLUSTER_INFO}`,
  });
  const controller = createReconciler(
    { name: 'bootstrap-signer-controller', inputs: [secrets, maps], concurrency: 1, reconcile },
    dependencies,
  );
  const look = () => controller.queue.add(KEY);
  for (const input of [secrets, maps]) input.subscribe({ added: look, updated: look, deleted: look });

  async function reconcile(): Promise<void> {
    const map = maps.get(`${CLUSTER_INFO_NAMESPACE}/${CLUSTER_INFO}`);
    const content = map?.data?.['kubeconfig'];
    if (!map || content === undefined) return;
    const tokens = secrets
      .list()
      .flatMap((secret) => parseTokenSecret(secret) ?? [])
      .filter((one) => one.signs && !isExpired(one, clock.nowMs()));
    const others = Object.entries(map.data ?? {}).filter(([key]) => !key.startsWith(PREFIX));
    const signatures = tokens.map(({ token }) => [`${PREFIX}${token.id}`, signDetached(content, token)] as const);
    const data = Object.fromEntries([...others, ...signatures.sort()]);
    if (JSON.stringify(sorted(data)) === JSON.stringify(sorted(map.data ?? {}))) return;
    await client.replace(configMapResource, { ...map, data });
  }

  return controller;
}

const sorted = (data: Record<string, string>) => Object.entries(data).sort(([a], [b]) => (a < b ? -1 : 1));
