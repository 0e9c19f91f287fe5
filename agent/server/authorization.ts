import type { UserInfo } from '../../src/auth/user.ts';
import type { Reviews } from './reviews.ts';

/** Decides about a request to the node; throws when whoever knows cannot be asked. */
export type Authorizer = (user: UserInfo, verb: string, subresources: readonly string[]) => Promise<boolean>;

const ADMINISTRATORS = 'system:masters';
/** The API server's own client certificate on nodes (kubeadm's and ours). */
const API_SERVER_CLIENT = 'kube-apiserver-kubelet-client';
/** Who scrapes: may read nodes/metrics, and nothing else of the node. */
const MONITORING = 'system:monitoring';

const VERBS: Record<string, string> = {
  GET: 'get',
  HEAD: 'get',
  POST: 'create',
  PUT: 'update',
  PATCH: 'patch',
  DELETE: 'delete',
};

export function verbOf(method: string): string {
  return VERBS[method] ?? method.toLowerCase();
}

/** Subresources of `nodes` that a path stands for, in the order they are tried; one that is allowed is enough (sheet §21, KEP-2862). */
export function subresourcesOf(path: string): string[] {
  const first = path.split('/')[1] ?? '';
  switch (first) {
    case 'healthz':
    case 'pods':
    case 'configz':
    case 'statusz':
      return [first, 'proxy'];
    case 'runningpods':
      return ['pods', 'proxy'];
    case 'stats':
    case 'metrics':
    case 'checkpoint':
      return [first];
    case 'logs':
      return ['log'];
    default:
      return ['proxy'];
  }
}

/** `authorization.mode: Webhook`: the API server decides. Its administrators may all by definition, so they are not asked for: they get in while it is away. */
export function reviewedAccess(nodeName: string, reviews: Pick<Reviews, 'mayAccess'>): Authorizer {
  return async (user, verb, subresources) => {
    if (user.groups.includes(ADMINISTRATORS)) return true;
    for (const subresource of subresources)
      if (await reviews.mayAccess(user, { verb, node: nodeName, subresource })) return true;
    return false;
  };
}

/** On a node without an API server the certificates of its own authority say what their owners may. */
export const certifiedAccess: Authorizer = async (user, verb, subresources) => {
  if (user.username === API_SERVER_CLIENT || user.groups.includes(ADMINISTRATORS)) return true;
  return user.groups.includes(MONITORING) && verb === 'get' && subresources.includes('metrics');
};

/** `authorization.mode: AlwaysAllow`. */
export const unlimitedAccess: Authorizer = async () => true;
