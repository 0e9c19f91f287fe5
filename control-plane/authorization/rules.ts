import type { AuthorizationAttributes } from '../apiserver/authorization.ts';

/** What an identity may do with resources; the shape of an RBAC rule, so that these can become objects later. */
export interface Rule {
  /** '*' is all. */
  readonly apiGroups: readonly string[];
  /** `pods`, `pods/status`, or '*' for everything. */
  readonly resources: readonly string[];
  readonly verbs: readonly string[];
  /** Only there and only these; anywhere and any without. */
  readonly namespace?: string;
  readonly resourceNames?: readonly string[];
}

const READ = ['get', 'list', 'watch'];
const RECORD = ['create', 'patch', 'update'];

const EVENTS: Rule = { apiGroups: ['', 'events.k8s.io'], resources: ['events'], verbs: RECORD };
const LEADER_LEASES: Rule = {
  apiGroups: ['coordination.k8s.io'],
  resources: ['leases'],
  verbs: ['create', 'get', 'list', 'patch', 'update', 'watch'],
};

/** Users of the control plane's own parts (upstream's bootstrap roles, cut to the kinds that there are). */
export const USER_RULES: Readonly<Record<string, readonly Rule[]>> = {
  'system:kube-proxy': [
    { apiGroups: [''], resources: ['services', 'endpoints', 'nodes'], verbs: READ },
    { apiGroups: ['discovery.k8s.io'], resources: ['endpointslices'], verbs: READ },
    { apiGroups: ['networking.k8s.io'], resources: ['servicecidrs'], verbs: READ },
    EVENTS,
  ],
  'system:kube-scheduler': [
    { apiGroups: [''], resources: ['nodes', 'namespaces', 'services'], verbs: READ },
    { apiGroups: [''], resources: ['pods'], verbs: [...READ, 'delete'] },
    { apiGroups: [''], resources: ['bindings', 'pods/binding'], verbs: ['create'] },
    { apiGroups: [''], resources: ['pods/status'], verbs: ['patch', 'update'] },
    { apiGroups: ['apps'], resources: ['replicasets'], verbs: READ },
    // A volume that waits for its first consumer is chosen together with the node.
    {
      apiGroups: [''],
      resources: ['persistentvolumes', 'persistentvolumeclaims'],
      verbs: [...READ, 'patch', 'update'],
    },
    { apiGroups: ['storage.k8s.io'], resources: ['storageclasses', 'csinodes', 'csidrivers'], verbs: READ },
    LEADER_LEASES,
    EVENTS,
  ],
  'system:kube-controller-manager': [
    // Garbage collection and namespace deletion reach every kind.
    { apiGroups: ['*'], resources: ['*'], verbs: [...READ, 'delete', 'deletecollection', 'patch', 'update'] },
    {
      apiGroups: [''],
      resources: ['pods', 'serviceaccounts', 'endpoints', 'configmaps', 'persistentvolumeclaims'],
      verbs: ['create'],
    },
    { apiGroups: ['storage.k8s.io'], resources: ['volumeattachments'], verbs: ['create'] },
    // Whoever asks for a certificate is asked about; what is approved is signed.
    { apiGroups: ['authorization.k8s.io'], resources: ['subjectaccessreviews'], verbs: ['create'] },
    { apiGroups: ['certificates.k8s.io'], resources: ['signers'], verbs: ['approve', 'sign'] },
    { apiGroups: ['apps'], resources: ['replicasets'], verbs: ['create'] },
    { apiGroups: ['discovery.k8s.io'], resources: ['endpointslices'], verbs: ['create'] },
    LEADER_LEASES,
    EVENTS,
  ],
  // The cluster's DNS server; it answers nodes, whose addresses it must know.
  'system:kube-dns': [
    { apiGroups: [''], resources: ['services', 'namespaces', 'nodes'], verbs: READ },
    { apiGroups: ['discovery.k8s.io'], resources: ['endpointslices'], verbs: READ },
  ],
  // The API server itself, on the nodes' own port (upstream's system:kubelet-api-admin): nodes ask about it like about anybody.
  'kube-apiserver-kubelet-client': [
    {
      apiGroups: [''],
      resources: ['checkpoint', 'configz', 'healthz', 'log', 'metrics', 'pods', 'proxy', 'stats', 'statusz'].map(
        (subresource) => `nodes/${subresource}`,
      ),
      verbs: ['get', 'create', 'update', 'patch', 'delete'],
    },
  ],
  // A Prometheus outside of the cluster: what its service discovery looks at. What it scrapes is its group's.
  'berth-prometheus': [
    { apiGroups: [''], resources: ['nodes', 'services', 'endpoints', 'pods'], verbs: READ },
    { apiGroups: ['discovery.k8s.io'], resources: ['endpointslices'], verbs: READ },
  ],
  // Routes between the nodes' pod networks; annotations of its own Node carry what the others must know.
  'system:berth-overlay': [
    { apiGroups: [''], resources: ['nodes'], verbs: READ },
    { apiGroups: [''], resources: ['nodes/status'], verbs: ['patch'] },
  ],
};

const CLUSTER_INFO: Rule = {
  apiGroups: [''],
  resources: ['configmaps'],
  verbs: ['get'],
  namespace: 'kube-public',
  resourceNames: ['cluster-info'],
};

/** What members of a group may. system:monitoring: also the nodes' own /metrics. system:authenticated: upstream's system:basic-user, to ask what oneself is and may. */
export const GROUP_RULES: Readonly<Record<string, readonly Rule[]>> = {
  'system:monitoring': [{ apiGroups: [''], resources: ['nodes/metrics'], verbs: ['get'] }],
  // Hosts that show a bootstrap token (upstream's system:node-bootstrapper, and kubeadm's roles for joining).
  'system:bootstrappers': [
    {
      apiGroups: ['certificates.k8s.io'],
      resources: ['certificatesigningrequests'],
      verbs: ['create', 'get', 'list', 'watch'],
    },
    { apiGroups: ['certificates.k8s.io'], resources: ['certificatesigningrequests/nodeclient'], verbs: ['create'] },
    {
      apiGroups: [''],
      resources: ['configmaps'],
      verbs: ['get'],
      namespace: 'kube-system',
      resourceNames: ['kubelet-config'],
    },
    { apiGroups: [''], resources: ['nodes'], verbs: ['get'] },
  ],
  // What is public of the cluster: where it is and by whom it is certified.
  'system:unauthenticated': [CLUSTER_INFO],
  'system:authenticated': [
    CLUSTER_INFO,
    { apiGroups: ['authentication.k8s.io'], resources: ['selfsubjectreviews'], verbs: ['create'] },
    {
      apiGroups: ['authorization.k8s.io'],
      resources: ['selfsubjectaccessreviews', 'selfsubjectrulesreviews'],
      verbs: ['create'],
    },
  ],
};

/** What every node may read and record beside its own objects. */
export const NODE_RULES: readonly Rule[] = [
  { apiGroups: [''], resources: ['services', 'nodes'], verbs: READ },
  { apiGroups: ['discovery.k8s.io'], resources: ['endpointslices'], verbs: READ },
  { apiGroups: ['networking.k8s.io'], resources: ['servicecidrs'], verbs: READ },
  { apiGroups: ['storage.k8s.io'], resources: ['csidrivers'], verbs: READ },
  // Its own certificates, before they end.
  {
    apiGroups: ['certificates.k8s.io'],
    resources: ['certificatesigningrequests'],
    verbs: ['create', 'get', 'list', 'watch'],
  },
  { apiGroups: ['certificates.k8s.io'], resources: ['certificatesigningrequests/selfnodeclient'], verbs: ['create'] },
  // Who a request to the node's own port comes from, and whether he may.
  { apiGroups: ['authentication.k8s.io'], resources: ['tokenreviews'], verbs: ['create'] },
  {
    apiGroups: ['authorization.k8s.io'],
    resources: ['subjectaccessreviews', 'localsubjectaccessreviews'],
    verbs: ['create'],
  },
  EVENTS,
];

export function rulesAllow(rules: readonly Rule[], attributes: AuthorizationAttributes): boolean {
  const { apiGroup, resource, subresource, verb, namespace, name } = attributes;
  const wanted = subresource ? `${resource}/${subresource}` : resource;
  const has = (list: readonly string[], value: string) => list.includes(value) || list.includes('*');
  return rules.some(
    (rule) =>
      has(rule.apiGroups, apiGroup) &&
      has(rule.resources, wanted) &&
      rule.verbs.includes(verb) &&
      (rule.namespace === undefined || rule.namespace === namespace) &&
      (rule.resourceNames?.includes(name) ?? true),
  );
}

/** system:discovery: what any client library asks first. */
const DISCOVERY_PATHS = [
  '/api',
  '/api/*',
  '/apis',
  '/apis/*',
  '/healthz',
  '/livez',
  '/openapi',
  '/openapi/*',
  '/readyz',
  '/version',
  '/version/',
];
/** system:public-info-viewer: also without credentials. */
const PUBLIC_PATHS = ['/healthz', '/livez', '/readyz', '/version', '/version/'];
/** system:monitoring */
const MONITORING_PATHS = [
  '/healthz',
  '/healthz/*',
  '/livez',
  '/livez/*',
  '/metrics',
  '/metrics/*',
  '/readyz',
  '/readyz/*',
];

/** system:service-account-issuer-discovery */
const ISSUER_PATHS = [
  '/.well-known/openid-configuration',
  '/.well-known/openid-configuration/',
  '/openid/v1/jwks',
  '/openid/v1/jwks/',
];

/** Paths that are no resources, by group. Only reads. */
export const PATHS_BY_GROUP: Readonly<Record<string, readonly string[]>> = {
  'system:authenticated': DISCOVERY_PATHS,
  'system:unauthenticated': PUBLIC_PATHS,
  'system:monitoring': MONITORING_PATHS,
  'system:serviceaccounts': ISSUER_PATHS,
  // What proxies tell of their rules needs a token, and administrators have certificates: only they can make one for these accounts.
  'system:serviceaccounts:kube-system': ['/debug/berth/*'],
};

export function pathsAllow(paths: readonly string[], path: string): boolean {
  return paths.some((allowed) => (allowed.endsWith('*') ? path.startsWith(allowed.slice(0, -1)) : allowed === path));
}
