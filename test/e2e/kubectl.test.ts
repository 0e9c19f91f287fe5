/** A day with kubectl: what a person does to a cluster, in the order in which one does it. */
import test from 'ava';
import type { ConfigMap, Deployment, Pod, ReplicaSet } from '../../src/kube/types.ts';
import { type ClusterHost, createClusterHost, kubectlOrWhyNot, until, whyNoHost } from '../support/cluster-host.ts';
import { deployment, httpServer, NGINX, pod, service } from '../support/manifests.ts';

const kubectl = await kubectlOrWhyNot();
const story = whyNoHost() || 'skip' in kubectl ? test.skip : test.serial;
/** At most so many requests in the loop that runs beside a rollout. */
const REQUESTS = 400;

let cluster: ClusterHost;

test.serial.before(async () => {
  if (story === test.skip) return;
  cluster = await createClusterHost('day');
  await cluster.berthOk('up');
  await cluster.loadImages();
});
test.after.always(() => cluster?.close());

story('create deployment, configmap, namespace, secret (protobuf bodies)', async (t) => {
  t.is(
    await cluster.kubectl('create', 'deployment', 'web', `--image=${NGINX}`, '--replicas=2'),
    'deployment.apps/web created\n',
  );
  t.is(
    await cluster.kubectl('create', 'configmap', 'page', '--from-literal=a=1', '--from-literal=b=ü'),
    'configmap/page created\n',
  );
  t.is(await cluster.kubectl('create', 'namespace', 'team'), 'namespace/team created\n');
  t.is(
    await cluster.kubectl('create', 'secret', 'generic', 'door', '--from-literal=key=x', '-n', 'team'),
    'secret/door created\n',
  );
  t.deepEqual((await cluster.get<ConfigMap>('configmap', 'page')).data, { a: '1', b: 'ü' });
  t.is(await cluster.kubectl('get', 'secret', 'door', '-n', 'team', '-o', 'jsonpath={.data.key}'), 'eA==');
  await cluster.kubectl('wait', '--for=condition=Available', 'deployment/web', '--timeout=60s');
  await cluster.kubectl('rollout', 'status', 'deployment/web', '--timeout=60s');
  const again = await cluster.tryKubectl(['create', 'namespace', 'team']);
  t.is(again.code, 1);
  t.regex(again.stderr, /AlreadyExists.*"team" already exists/);
});

story('apply creates, changes and leaves alone; diff by last applied configuration', async (t) => {
  const before = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'applied' }, data: { keep: '1', drop: '2' } };
  t.is(await cluster.apply(before), 'configmap/applied created\n');
  t.is(await cluster.apply(before), 'configmap/applied unchanged\n');
  await cluster.kubectl('patch', 'configmap', 'applied', '--type=merge', '-p', '{"data":{"other":"3"}}');
  t.is(await cluster.apply({ ...before, data: { keep: '1', more: '4' } }), 'configmap/applied configured\n');
  t.deepEqual((await cluster.get<ConfigMap>('configmap', 'applied')).data, { keep: '1', other: '3', more: '4' });
  const list = { apiVersion: 'v1', kind: 'List', items: [before, { ...before, metadata: { name: 'listed' } }] };
  t.is(
    (await cluster.tryKubectl(['apply', '-f', '-'], JSON.stringify(list))).stdout,
    'configmap/applied configured\nconfigmap/listed created\n',
  );
});

story('get and describe show tables, wide tables, labels, JSON paths, selectors', async (t) => {
  const pods = await cluster.kubectl('get', 'pods', '-o', 'wide');
  t.regex(pods, /^NAME +READY +STATUS +RESTARTS +AGE +IP +NODE/);
  t.is(pods.match(/^web-\S+ +1\/1 +Running +0 +\S+ +10\.244\.0\.\d+ +day /gm)?.length, 2);
  t.regex(await cluster.kubectl('get', 'deployments'), /^web +2\/2 +2 +2 /m);
  t.regex(await cluster.kubectl('get', 'all'), /^replicaset\.apps\/web-\S+ +2 +2 +2 /m);
  t.is((await cluster.kubectl('get', 'pods', '-l', 'app=web', '-o', 'name')).trim().split('\n').length, 2);
  t.is(await cluster.kubectl('get', 'pods', '-l', 'app notin (web)', '-o', 'name'), '');
  t.is(
    (await cluster.kubectl('get', 'pods', '--field-selector=status.phase=Running', '-o', 'name')).trim().split('\n')
      .length,
    2,
  );
  t.regex(await cluster.kubectl('get', 'pods', '-A', '--sort-by=.metadata.name'), /^NAMESPACE +NAME/);
  const described = await cluster.kubectl('describe', 'pods', '-l', 'app=web');
  t.regex(described, /^Node: +day\/198\.51\.100\.10$/m);
  t.regex(described, /Successfully assigned default\/web-\S+ to day/);
  t.regex(
    await cluster.kubectl('describe', 'deployment', 'web'),
    /2 desired \| 2 updated \| 2 total \| 2 available \| 0 unavailable/,
  );
  t.regex(await cluster.kubectl('describe', 'node', 'day'), /Non-terminated Pods: +\(2 in total\)/);
  t.regex(await cluster.kubectl('explain', 'pod.spec.containers.image'), /FIELD: image <string>/);
  t.regex(await cluster.kubectl('api-resources'), /^deployments +deploy +apps\/v1 +true +Deployment$/m);
});

story('label, annotate, patch, scale, set image', async (t) => {
  await cluster.kubectl('label', 'deployment', 'web', 'tier=front');
  await cluster.kubectl('annotate', 'deployment', 'web', 'note=here');
  const patch = '{"spec":{"template":{"spec":{"containers":[{"name":"nginx","env":[{"name":"A","value":"b"}]}]}}}}';
  await cluster.kubectl('patch', 'deployment', 'web', '-p', patch);
  await cluster.kubectl(
    'patch',
    'deployment',
    'web',
    '--type=json',
    '-p',
    '[{"op":"remove","path":"/metadata/annotations/note"}]',
  );
  const { metadata, spec } = await cluster.get<Deployment>('deployment', 'web');
  t.is(metadata.labels?.['tier'], 'front');
  t.is(metadata.annotations?.['note'], undefined);
  t.like(spec.template.spec?.containers, { 0: { image: NGINX, env: [{ name: 'A', value: 'b' }] }, length: 1 });
  await cluster.kubectl('scale', 'deployment', 'web', '--replicas=3');
  await cluster.kubectl('rollout', 'status', 'deployment/web', '--timeout=60s');
  t.is((await cluster.list<Pod>('pods', '-l', 'app=web')).filter((one) => !one.metadata.deletionTimestamp).length, 3);
  await cluster.kubectl('scale', 'deployment', 'web', '--replicas=1');
  await until('one pod is left', async () => (await cluster.list('pods', '-l', 'app=web')).length === 1);
});

story('rollout: history, undo, restart; the old ReplicaSets stay empty', async (t) => {
  t.regex(await cluster.kubectl('rollout', 'history', 'deployment/web'), /^1 .*\n2 /m);
  await cluster.kubectl('rollout', 'undo', 'deployment/web');
  await cluster.kubectl('rollout', 'status', 'deployment/web', '--timeout=60s');
  t.is((await cluster.get<Deployment>('deployment', 'web')).spec.template.spec?.containers[0]?.env, undefined);
  await cluster.kubectl('rollout', 'restart', 'deployment/web');
  await cluster.kubectl('rollout', 'status', 'deployment/web', '--timeout=60s');
  t.deepEqual(
    (await cluster.list<ReplicaSet>('replicasets', '-l', 'app=web')).map(({ spec }) => spec.replicas).toSorted(),
    [0, 0, 1],
  );
});

story('a rolling update never leaves the Service without an answer', async (t) => {
  const graceful = {
    lifecycle: { preStop: { exec: { command: ['sleep', '1'] } } },
    readinessProbe: { httpGet: { path: '/', port: 80 }, periodSeconds: 1 },
  };
  const version = (text: string) =>
    deployment('steady', 3, { ...httpServer(), env: [{ name: 'VERSION', value: text }], ...graceful });
  await cluster.apply(version('one'), service('steady', { app: 'steady' }));
  await cluster.kubectl('rollout', 'status', 'deployment/steady', '--timeout=60s');
  const address = await cluster.kubectl('get', 'service', 'steady', '-o', 'jsonpath={.spec.clusterIP}');
  await until(
    'the Service answers',
    async () => (await cluster.try(['curl', '-sf', '--max-time', '2', `http://${address}/`])).code === 0,
  );
  const loop = cluster.sh(
    `for i in $(seq ${REQUESTS}); do
       [ ! -e /tmp/rolled ] || break
       sleep 0.02; curl -s -o /dev/null -w '%{http_code} %{errormsg}\n' --max-time 5 http://${address}/ || true
     done`,
  );
  await cluster.apply(version('two'));
  await cluster.kubectl('rollout', 'status', 'deployment/steady', '--timeout=60s');
  await cluster.sh('touch /tmp/rolled');
  const answers = (await loop)
    .trim()
    .split('\n')
    .map((line) => line.trim());
  t.log(`${answers.length} requests`);
  t.true(answers.length > 10);
  t.deepEqual(
    answers.filter((answer) => answer !== '200'),
    [],
  );
  await cluster.kubectl('delete', 'deployment,service', 'steady');
});

story('a broken update stops half-way and is undone', async (t) => {
  await cluster.kubectl('scale', 'deployment', 'web', '--replicas=2');
  await cluster.kubectl('rollout', 'status', 'deployment/web', '--timeout=60s');
  await cluster.kubectl('set', 'image', 'deployment/web', 'nginx=berth/missing:1');
  const stuck = await cluster.tryKubectl(['rollout', 'status', 'deployment/web', '--timeout=3s']);
  t.not(stuck.code, 0);
  t.is((await cluster.get<Deployment>('deployment', 'web')).status?.availableReplicas, 2);
  await cluster.kubectl('rollout', 'undo', 'deployment/web');
  await cluster.kubectl('rollout', 'status', 'deployment/web', '--timeout=60s');
});

story('what is deleted is deleted with what it owns', async (t) => {
  await cluster.kubectl('delete', 'deployment', 'web');
  await until(
    'ReplicaSets and pods are gone',
    async () => (await cluster.list('replicasets,pods', '-l', 'app=web')).length === 0,
  );
  const missing = await cluster.tryKubectl(['delete', 'deployment', 'web']);
  t.is(missing.code, 1);
  t.regex(missing.stderr, /NotFound.*deployments\.apps "web" not found/);
  await cluster.kubectl('delete', 'deployment', 'web', '--ignore-not-found');
});

story('an orphaning deletion leaves the pods', async (t) => {
  await cluster.apply(deployment('parent', 1, { command: ['sleep', '3600'] }));
  await cluster.kubectl('rollout', 'status', 'deployment/parent', '--timeout=60s');
  await cluster.kubectl('delete', 'deployment', 'parent', '--cascade=orphan');
  const [set] = await cluster.list<ReplicaSet>('replicasets', '-l', 'app=parent');
  t.deepEqual(set?.metadata.ownerReferences ?? [], []);
  t.is((await cluster.list('pods', '-l', 'app=parent')).length, 1);
  await cluster.kubectl('delete', 'replicaset', '-l', 'app=parent');
  await until('the pod is gone', async () => (await cluster.list('pods', '-l', 'app=parent')).length === 0);
});

story('a namespace goes with everything in it', async (t) => {
  await cluster.kubectl('create', 'configmap', 'inside', '-n', 'team');
  await cluster.apply(pod('inside', { command: ['sleep', '3600'] }, {}, { namespace: 'team' }));
  await cluster.kubectl('wait', '--for=condition=Ready', 'pod/inside', '-n', 'team', '--timeout=60s');
  t.regex(await cluster.kubectl('get', 'serviceaccounts', '-n', 'team', '-o', 'name'), /serviceaccount\/default/);
  await cluster.kubectl('delete', 'namespace', 'team', '--timeout=60s');
  t.not((await cluster.tryKubectl(['get', 'namespace', 'team'])).code, 0);
  t.is(await cluster.kubectl('get', 'pods,configmaps,secrets,serviceaccounts', '-n', 'team', '-o', 'name'), '');
  t.deepEqual(
    [...(await cluster.containers()).keys()].filter((name) => name.includes('_team_')),
    [],
  );
  const late = await cluster.tryKubectl(['create', 'configmap', 'late', '-n', 'team']);
  t.regex(late.stderr, /namespaces "team" not found/);
});

const wrongManifests: [string, object, RegExp][] = [
  ['an image is missing', pod('wrong', { image: '' }), /spec\.containers\[0\]\.image: Required value/],
  ['a name has capitals', pod('Wrong', {}), /metadata\.name: Invalid value: "Wrong"/],
  ['a field does not exist', pod('wrong', { imagee: 'x' }), /unknown field "spec\.containers\[0\]\.imagee"/],
  [
    'a port is out of range',
    pod('wrong', { ports: [{ containerPort: 70000 }] }),
    /spec\.containers\[0\]\.ports\[0\]\.containerPort: Invalid value: 70000/,
  ],
  ['a quantity is none', pod('wrong', { resources: { limits: { memory: '1 GB' } } }), /quantities must match/],
  [
    'a request exceeds its limit',
    pod('wrong', { resources: { limits: { cpu: '1' }, requests: { cpu: '2' } } }),
    /spec\.containers\[0\]\.resources\.requests: Invalid value: "2": must be less than or equal to cpu limit/,
  ],
  [
    'a volume is not there',
    pod('wrong', { volumeMounts: [{ name: 'v', mountPath: '/v' }] }),
    /spec\.containers\[0\]\.volumeMounts\[0\]\.name: Not found: "v"/,
  ],
  [
    'a selector misses its template',
    {
      ...deployment('wrong', 1, {}),
      spec: {
        selector: { matchLabels: { a: 'b' } },
        template: { metadata: { labels: { a: 'c' } }, spec: { containers: [{ name: 'main', image: NGINX }] } },
      },
    },
    /spec\.template\.metadata\.labels: Invalid value/,
  ],
  [
    'a node port is out of range',
    service('wrong', { a: 'b' }, { type: 'NodePort', ports: [{ port: 80, nodePort: 80 }] }),
    /spec\.ports\[0\]\.nodePort: Invalid value: 80: provided port is not in the valid range/,
  ],
];
for (const [what, manifest, message] of wrongManifests) {
  story(`a manifest in which ${what} is refused by its field`, async (t) => {
    const { code, stderr } = await cluster.tryKubectl(['apply', '-f', '-'], JSON.stringify(manifest));
    t.is(code, 1);
    t.regex(stderr, message);
  });
}

story('a pod that fits nowhere stays Pending and says why', async (t) => {
  await cluster.apply(
    pod('huge', { resources: { requests: { cpu: '1000' } } }),
    pod('picky', {}, { nodeSelector: { disk: 'gold' } }),
  );
  for (const [name, why] of [
    ['huge', /Insufficient cpu/],
    ['picky', /didn't match Pod's node affinity\/selector/],
  ] as const) {
    const described = await until('FailedScheduling', async () => {
      const text = await cluster.kubectl('describe', 'pod', name);
      return text.includes('FailedScheduling') && text;
    });
    t.regex(described, why);
  }
  t.is((await cluster.get<Pod>('pod', 'picky')).status?.phase, 'Pending');
  await cluster.kubectl('label', 'node', 'day', 'disk=gold');
  await cluster.kubectl('wait', '--for=jsonpath={.spec.nodeName}=day', 'pod/picky', '--timeout=60s');
  await cluster.kubectl('delete', 'pod', 'huge', 'picky');
});

story('a cordoned node gets no more pods', async (t) => {
  await cluster.kubectl('cordon', 'day');
  await cluster.apply(pod('waiting', { command: ['sleep', '3600'] }));
  await until('FailedScheduling', async () =>
    (await cluster.kubectl('describe', 'pod', 'waiting')).includes('unschedulable'),
  );
  await cluster.kubectl('uncordon', 'day');
  await cluster.kubectl('wait', '--for=condition=Ready', 'pod/waiting', '--timeout=60s');
  t.regex(await cluster.kubectl('delete', 'pod', 'waiting', '--now'), /deleted/);
});

story('top, and what a node says of itself through the API server', async (t) => {
  await cluster.apply(
    pod('busy', {
      command: ['sh', '-c', 'while :; do :; done'],
      resources: { limits: { cpu: '100m', memory: '32Mi' } },
    }),
  );
  await cluster.kubectl('wait', '--for=condition=Ready', 'pod/busy', '--timeout=60s');
  // CPU is a mean between two looks.
  const line = await until(
    'kubectl top has figures of the pod',
    async () => {
      const { stdout } = await cluster.tryKubectl(['top', 'pod', 'busy', '--no-headers']);
      const [, millis = ''] = /^busy +(\d+)m +\d+Mi/.exec(stdout) ?? [];
      return Number(millis) >= 50 && stdout;
    },
    60_000,
  );
  t.true(Number(/(\d+)m/.exec(line)?.[1]) <= 120, line);
  t.regex(
    await cluster.kubectl('top', 'node'),
    /^NAME +CPU\(cores\) +CPU\(%\) +MEMORY\(bytes\) +MEMORY\(%\) *\n\S+ +\d+m +\d+% +\d+Mi +\d+%/,
  );
  t.regex(await cluster.kubectl('top', 'pod', 'busy', '--containers'), /busy +main +\d+m/);
  const name = (await cluster.kubectl('get', 'nodes', '-o', 'name')).trim().split('/')[1];
  const raw = (path: string) => cluster.kubectl('get', '--raw', `/api/v1/nodes/${name}/proxy${path}`);
  t.is(JSON.parse(await raw('/stats/summary')).node.nodeName, name);
  t.true(JSON.parse(await raw('/pods')).items.some(({ metadata }: Pod) => metadata.name === 'busy'));
  t.regex(await raw('/logs/'), /<a href="berth\/">berth\/<\/a>/);
  t.regex(
    await raw('/metrics/resource'),
    /container_cpu_usage_seconds_total\{container="main",namespace="default",pod="busy"\}/,
  );
  await cluster.kubectl('delete', 'pod', 'busy', '--now');
});

story('servers in pods are reached through the API server, by pod and by Service', async (t) => {
  await cluster.apply(
    pod('site', httpServer(8080), {}, { labels: { app: 'site' } }),
    service('site', { app: 'site' }, { ports: [{ port: 81, targetPort: 8080 }] }),
  );
  await cluster.kubectl('wait', '--for=condition=Ready', 'pod/site', '--timeout=60s');
  const raw = (path: string) => cluster.tryKubectl(['get', '--raw', `/api/v1/namespaces/default/${path}`]);
  const page = await until('the pod answers', async () => {
    const { stdout } = await raw('pods/site:8080/proxy/');
    return stdout !== '' && stdout;
  });
  await until('the Service answers', async () => (await raw('services/site/proxy/')).stdout === page);
  for (const way of ['pods/http:site:8080', 'services/site:81', 'services/http:site:'])
    t.is((await raw(`${way}/proxy/index.html`)).stdout, page);
  t.regex((await raw('services/site:82/proxy/')).stderr, /no service port 82 found for service "site"/);
  t.regex((await raw('pods/site:1/proxy/')).stderr, /error trying to reach service: connect ECONNREFUSED/);
});

story('what this server does not do is refused by name', async (t) => {
  const { code, stderr } = await cluster.tryKubectl(['get', '--raw', '/api/v1/namespaces/default/pods/any/nonsense']);
  t.not(code, 0);
  t.regex(stderr, /pods\/nonsense is not supported by this server/);
  t.regex(await cluster.kubectl('get', 'servicecidrs'), /kubernetes +10\.96\.0\.0\/12 /);
  const range = { apiVersion: 'networking.k8s.io/v1', kind: 'ServiceCIDR', metadata: { name: 'more' } };
  const more = await cluster.tryKubectl(
    ['create', '-f', '-'],
    JSON.stringify({ ...range, spec: { cidrs: ['10.7.0.0/16'] } }),
  );
  t.regex(more.stderr, /this control plane has one range, kubernetes/);
});
