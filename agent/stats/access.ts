import { Counter, type Registry } from '../../src/runtime/metrics.ts';
import type { RefuseAccess } from '../server/access.ts';

/** Counts who was let in to the node's port, under the names of upstream's request filters. */
export function countAccess(registry: Registry, refuseAccess: RefuseAccess): RefuseAccess {
  const authentications = new Counter({
    name: 'authentication_attempts',
    help: 'Counter of authenticated attempts.',
    labelNames: ['result'],
    registers: [registry],
  });
  const authorizations = new Counter({
    name: 'authorization_attempts_total',
    help: "Counter of authorization attempts broken down by result. It can be either 'allowed', 'denied', 'no-opinion' or 'error'.",
    labelNames: ['result'],
    registers: [registry],
  });
  return async (request, path) => {
    const refusal = await refuseAccess(request, path);
    authentications.inc({ result: refusal?.status === 401 ? 'failure' : 'success' });
    if (refusal?.status !== 401)
      authorizations.inc({ result: refusal === undefined ? 'allowed' : refusal.status === 403 ? 'denied' : 'error' });
    return refusal;
  };
}
