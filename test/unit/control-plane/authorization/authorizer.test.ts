import test from 'ava';
import type { AuthorizationAttributes, UserInfo } from '../../../../control-plane/apiserver/authorization.ts';
import { createAuthorizer } from '../../../../control-plane/authorization/authorizer.ts';
import type { Pod } from '../../../../src/kube/types.ts';
import { ADMIN, meta, nodeUser, objectReader } from '../../../support/strategy-context.ts';

const pod = (name: string, nodeName: string, rest: Partial<Pod['spec']> = {}): Pod => ({
  metadata: meta(name, { namespace: 'team' }),
  spec: { nodeName, containers: [{ name: 'c', image: 'x:1' }], ...rest },
});

const authorizer = createAuthorizer({
  objects: objectReader({
    pods: [
      pod('mine', 'n1', {
        serviceAccountName: 'robot',
        imagePullSecrets: [{ name: 'registry' }],
        containers: [
          {
            name: 'c',
            image: 'x:1',
            env: [{ name: 'A', valueFrom: { secretKeyRef: { name: 'password', key: 'k' } } }],
            envFrom: [{ configMapRef: { name: 'settings' } }],
          },
        ],
        initContainers: [{ name: 'i', image: 'x:1', envFrom: [{ secretRef: { name: 'setup' } }] }],
        volumes: [
          { name: 'a', secret: { secretName: 'certificate' } },
          { name: 'b', projected: { sources: [{ configMap: { name: 'ca' } }] } },
        ],
      }),
      pod('other', 'n2', { serviceAccountName: 'theirs', volumes: [{ name: 'a', secret: { secretName: 'theirs' } }] }),
    ],
  }),
});

const user = (username: string, ...groups: string[]): UserInfo => ({
  username,
  groups: [...groups, 'system:authenticated'],
});
const anonymous: UserInfo = { username: 'system:anonymous', groups: ['system:unauthenticated'] };
const proxy = user('system:kube-proxy');
const scheduler = user('system:kube-scheduler');
const controllers = user('system:kube-controller-manager');
const account = user('system:serviceaccount:team:default', 'system:serviceaccounts', 'system:serviceaccounts:team');
const n1 = nodeUser('n1');

/** `get secrets team/password`, `list pods ?spec.nodeName=n1`, `update nodes/status /n1`, `get leases.coordination.k8s.io …`. */
function ask(who: UserInfo, text: string): AuthorizationAttributes {
  const [verb = '', what = '', ...rest] = text.split(' ');
  const base = {
    user: who,
    verb,
    apiVersion: 'v1',
    path: '',
    apiGroup: '',
    resource: '',
    subresource: '',
    namespace: '',
    name: '',
    fieldSelector: '',
    labelSelector: '',
  };
  if (what.startsWith('/')) return { ...base, resourceRequest: false, path: what };
  const [resource = '', subresource = ''] = what.split('/');
  const dot = resource.indexOf('.');
  const target = rest.find((word) => !word.startsWith('?')) ?? '/';
  const slash = target.indexOf('/');
  return {
    ...base,
    resourceRequest: true,
    resource: dot < 0 ? resource : resource.slice(0, dot),
    apiGroup: dot < 0 ? '' : resource.slice(dot + 1),
    subresource,
    namespace: target.slice(0, slash),
    name: target.slice(slash + 1),
    fieldSelector: rest.find((word) => word.startsWith('?'))?.slice(1) ?? '',
  };
}

const allowed: [string, UserInfo, string[]][] = [
  ['administrators', ADMIN, ['delete secrets team/password', 'create nodes', 'get /metrics', 'get /anything']],
  ['anybody', anonymous, ['get /healthz', 'get /livez', 'get /readyz', 'get /version']],
  ['the authenticated', user('someone'), ['get /api', 'get /apis/apps/v1', 'get /openapi/v3', 'get /version']],
  [
    'service accounts',
    account,
    ['get /api/v1', 'get /version', 'get /openid/v1/jwks', 'get /.well-known/openid-configuration'],
  ],
  [
    'accounts that only administrators can act for, of proxies',
    user('system:serviceaccount:kube-system:default', 'system:serviceaccounts:kube-system'),
    ['get /debug/berth/services/team/web'],
  ],
  [
    'the authenticated, of themselves',
    account,
    [
      'create selfsubjectreviews.authentication.k8s.io',
      'create selfsubjectaccessreviews.authorization.k8s.io',
      'create selfsubjectrulesreviews.authorization.k8s.io',
    ],
  ],
  ['monitoring', user('prometheus', 'system:monitoring'), ['get /metrics', 'get /livez/ping', 'get nodes/metrics /n1']],
  [
    'a Prometheus that looks for targets',
    user('berth-prometheus', 'system:monitoring'),
    ['watch nodes', 'list endpointslices.discovery.k8s.io kube-system/', 'list pods', 'list services'],
  ],
  [
    'the proxy',
    proxy,
    [
      'list services',
      'watch endpointslices.discovery.k8s.io',
      'get nodes /n1',
      'create events default/',
      'patch events.events.k8s.io default/x',
    ],
  ],
  [
    'the scheduler',
    scheduler,
    [
      'watch pods',
      'create pods/binding team/p',
      'patch pods/status team/p',
      'list nodes',
      'update leases.coordination.k8s.io kube-system/kube-scheduler',
      'create events team/',
    ],
  ],
  [
    'the controllers',
    controllers,
    [
      'create pods team/',
      'delete pods team/p',
      'patch deployments.apps/status team/d',
      'create replicasets.apps team/',
      'create endpointslices.discovery.k8s.io team/',
      'update namespaces/finalize /team',
      'deletecollection secrets team/',
      'create serviceaccounts team/',
      'update nodes/status /n1',
    ],
  ],
  [
    'a node',
    n1,
    [
      'get secrets team/password',
      'watch secrets team/registry',
      'get secrets team/setup',
      'get secrets team/certificate',
      'get configmaps team/settings',
      'list configmaps team/ca',
      'list pods ?spec.nodeName=n1',
      'watch pods ?spec.nodeName=n1,status.phase=Running',
      'get pods team/mine',
      'patch pods/status team/mine',
      'delete pods team/mine',
      'create pods team/',
      'get nodes /n1',
      'create nodes',
      'patch nodes/status /n1',
      'create leases.coordination.k8s.io kube-node-lease/',
      'update leases.coordination.k8s.io kube-node-lease/n1',
      'list services',
      'watch endpointslices.discovery.k8s.io',
      'create events default/',
      'create serviceaccounts/token team/robot',
      'get serviceaccounts team/robot',
      'create tokenreviews.authentication.k8s.io',
      'create subjectaccessreviews.authorization.k8s.io',
    ],
  ],
];
for (const [who, as, requests] of allowed)
  for (const request of requests)
    test(`${who} may ${request}`, async (t) => {
      t.true((await authorizer.authorize(ask(as, request))).allowed);
    });

const denied: [string, UserInfo, [string, string?][]][] = [
  ['other accounts, of proxies', account, [['get /debug/berth/services']]],
  ['anybody', anonymous, [['get /api'], ['get /metrics'], ['list pods']]],
  ['monitoring', user('prometheus', 'system:monitoring'), [['list nodes'], ['get nodes/proxy /n1'], ['post /metrics']]],
  [
    'a Prometheus that looks for targets',
    user('berth-prometheus', 'system:monitoring'),
    [['list secrets'], ['list configmaps'], ['delete pods team/p'], ['get pods/log team/p'], ['patch nodes /n1']],
  ],
  ['the authenticated', user('someone'), [['list pods team/'], ['get /metrics'], ['post /version'], ['get /apisx']]],
  [
    'service accounts',
    account,
    [
      ['get pods team/p'],
      ['list services'],
      ['list secrets team/'],
      ['get serviceaccounts team/default'],
      ['create serviceaccounts/token team/default'],
      ['create tokenreviews.authentication.k8s.io'],
      ['create subjectaccessreviews.authorization.k8s.io'],
      ['get /metrics'],
    ],
  ],
  ['the proxy', proxy, [['list secrets'], ['update services team/s'], ['create pods team/']]],
  ['the scheduler', scheduler, [['get secrets team/password'], ['create pods team/'], ['update nodes /n1']]],
  ['the controllers', controllers, [['create secrets team/'], ['create nodes'], ['get /metrics']]],
  [
    'a user that only calls itself a node',
    user('system:node:n1'),
    [['get nodes /n1'], ['list pods ?spec.nodeName=n1']],
  ],
  ['a nameless node', nodeUser(''), [['get nodes /n1']]],
  [
    'a node',
    n1,
    [
      ['get secrets team/theirs', "no relationship found between node 'n1' and this object"],
      ['get secrets default/password', "no relationship found between node 'n1' and this object"],
      ['list secrets team/', 'No Object name found'],
      ['list secrets', 'can only read namespaced object of this type'],
      ['update secrets team/password', 'can only read resources of this type'],
      ['get pods team/other', "no relationship found between node 'n1' and this object"],
      ['get pods team/absent', "no relationship found between node 'n1' and this object"],
      ['list pods', 'can only list/watch pods with spec.nodeName field selector'],
      ['list pods ?spec.nodeName=n2', 'can only list/watch pods with spec.nodeName field selector'],
      ['watch pods ?spec.nodeName!=n1', 'can only list/watch pods with spec.nodeName field selector'],
      ['update pods team/mine', ''],
      ['create pods/binding team/mine', ''],
      ['delete nodes /n1', ''],
      [
        'get leases.coordination.k8s.io kube-system/n1',
        'can only access leases in the "kube-node-lease" system namespace',
      ],
      [
        'get leases.coordination.k8s.io kube-node-lease/n2',
        'can only access node lease with the same name as the requesting node',
      ],
      [
        'list leases.coordination.k8s.io kube-node-lease/',
        'can only get, create, update, patch, or delete a node lease',
      ],
      ['create serviceaccounts/token team/theirs', "no relationship found between node 'n1' and this object"],
      ['create serviceaccounts/token default/robot', "no relationship found between node 'n1' and this object"],
      ['create serviceaccounts team/', 'can only create tokens for individual service accounts'],
      ['list serviceaccounts team/', 'can only create tokens for individual service accounts'],
      ['get serviceaccounts team/theirs', "no relationship found between node 'n1' and this object"],
      ['create serviceaccounts/other team/robot', 'can only create token subresource of serviceaccount'],
      ['create services team/', ''],
      ['list namespaces', ''],
      ['delete events default/x', ''],
    ],
  ],
];
for (const [who, as, requests] of denied)
  for (const [request, reason = ''] of requests)
    test(`${who} may not ${request}`, async (t) => {
      t.deepEqual(await authorizer.authorize(ask(as, request)), { allowed: false, reason });
    });
