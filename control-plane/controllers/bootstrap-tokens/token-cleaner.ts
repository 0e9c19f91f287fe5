import { isNotFound } from '../../../src/kube/errors.ts';
import { objectKey, secrets as secretResource } from '../../../src/kube/resources.ts';
import type { Secret } from '../../../src/kube/types.ts';
import { isExpired, NAMESPACE, parseTokenSecret, SECRET_TYPE } from '../../bootstrap-tokens/token-secret.ts';
import { type Controller, type ControllerDependencies, createReconciler } from '../controller.ts';

/** Wall clocks may be set: an end that is far away is looked at again before. */
const LONGEST_WAIT_MS = 600_000;

/** Deletes bootstrap tokens when their time is over. */
export function createTokenCleaner(dependencies: ControllerDependencies): Controller {
  const { client, clock, informers } = dependencies;
  const secrets = informers.informer(secretResource, { namespace: NAMESPACE, fieldSelector: `type=${SECRET_TYPE}` });
  const controller = createReconciler(
    { name: 'token-cleaner-controller', inputs: [secrets], concurrency: 1, reconcile },
    dependencies,
  );
  const look = (secret: Secret) => controller.queue.add(objectKey(secret));
  secrets.subscribe({ added: look, updated: (_, secret) => look(secret) });

  async function reconcile(key: string): Promise<void> {
    const secret = secrets.get(key);
    const token = secret && parseTokenSecret(secret);
    if (!secret || token?.expiresAtMs === undefined) return;
    const leftMs = token.expiresAtMs - clock.nowMs();
    if (!isExpired(token, clock.nowMs())) return controller.queue.addAfter(key, Math.min(leftMs, LONGEST_WAIT_MS));
    const { name, namespace, uid } = secret.metadata;
    await client.delete(secretResource, { name: name!, namespace, uid }).catch((error) => {
      if (!isNotFound(error)) throw error;
    });
  }

  return controller;
}
