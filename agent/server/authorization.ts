/** Who asks, as the client's certificate says. */
export interface NodeUser {
  username: string;
  groups: readonly string[];
}

/** The API server's own client certificate on nodes (kubeadm's and ours). */
const API_SERVER_CLIENT = 'kube-apiserver-kubelet-client';
const ADMINISTRATORS = 'system:masters';
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

/** Subresources of `nodes` that a path stands for, in the order they are tried (sheet §21). */
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

/** The text of the refusal, or undefined when the user may. Other users come with authorization webhooks, later. */
export function authorize(user: NodeUser, method: string, path: string): string | undefined {
  if (user.username === API_SERVER_CLIENT || user.groups.includes(ADMINISTRATORS)) return undefined;
  const verb = VERBS[method] ?? method.toLowerCase();
  const subresources = subresourcesOf(path);
  if (user.groups.includes(MONITORING) && verb === 'get' && subresources.includes('metrics')) return undefined;
  return `Forbidden (user=${user.username}, verb=${verb}, resource=nodes, subresource=[${subresources.join(' ')}])`;
}
