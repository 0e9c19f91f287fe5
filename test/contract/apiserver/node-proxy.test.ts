/** nodes/proxy and metrics.k8s.io over a whole API server; the nodes behind it are canned, so that no address need be real. */
import { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import test, { type ExecutionContext } from 'ava';
import type { NodeConnection } from '../../../control-plane/apiserver/nodes/node-connection.ts';
import { nodes, pods, serviceAccounts } from '../../../src/kube/resources.ts';
import { startTestControlPlane } from '../../support/control-plane.ts';
import { createKubectl, findKubectl } from '../../support/kubectl.ts';

const found = await findKubectl();

type Ask = Parameters<NodeConnection['request']>[1];

const summary = (uid: string) => ({
  node: { cpu: { time: '2026-01-01T00:00:00Z', usageNanoCores: 250_000_000 }, memory: { workingSetBytes: 512 << 20 } },
  pods: [
    {
      podRef: { name: 'web', namespace: 'default', uid },
      containers: [
        {
          name: 'a',
          cpu: { time: '2026-01-01T00:00:00Z', usageNanoCores: 5_000_000 },
          memory: { workingSetBytes: 3 << 20 },
        },
        {
          name: 'b',
          cpu: { time: '2026-01-01T00:00:00Z', usageNanoCores: 7_000_000 },
          memory: { workingSetBytes: 5 << 20 },
        },
      ],
    },
    {
      podRef: { name: 'new', namespace: 'default', uid: 'other' },
      containers: [{ name: 'a', memory: { workingSetBytes: 1 } }],
    },
  ],
});

async function scene(t: ExecutionContext) {
  const asked: (Ask & { sent: string; node: string })[] = [];
  const answer: { status: number; headers: Record<string, string>; body: string } = {
    status: 200,
    headers: {},
    body: '',
  };
  let uid = '';
  let looks = 0;
  const connection = {
    async request(node, ask) {
      asked.push({ ...ask, node, sent: ask.method === 'GET' ? '' : await text(ask.body) });
      return { status: answer.status, headers: answer.headers, body: Readable.from([answer.body]) };
    },
    async get(node) {
      looks++;
      if (node === 'silent') throw new Error('it does not answer');
      return { status: 200, contentType: 'application/json', body: Readable.from([JSON.stringify(summary(uid))]) };
    },
    close: async () => {},
  } as Partial<NodeConnection> as NodeConnection;
  const controlPlane = await startTestControlPlane({ nodes: connection });
  t.teardown(() => controlPlane.stop());
  await controlPlane.createNamespaces('default');
  const admin = await controlPlane.admin();
  await admin.create(serviceAccounts, { metadata: { name: 'default', namespace: 'default' } });
  for (const [name, address] of Object.entries({
    n1: '192.0.2.1',
    silent: '192.0.2.2',
    inside: '127.0.0.1',
    local: '169.254.1.1',
    named: 'localhost',
  })) {
    const node = await admin.create(nodes, { metadata: { name, labels: { rack: name } }, spec: {} });
    const type = address === 'localhost' ? 'Hostname' : 'InternalIP';
    await admin.replace(nodes, { ...node, status: { addresses: [{ type, address }] } }, { subresource: 'status' });
  }
  const containers = ['a', 'b'].map((name) => ({ name, image: 'i' }));
  const metadata = { name: 'web', namespace: 'default', labels: { app: 'web' } };
  const pod = await admin.create(pods, { metadata, spec: { nodeName: 'n1', containers } });
  uid = pod.metadata.uid;
  const raw = async (url: string, options: Parameters<typeof admin.raw>[1] = {}) => {
    const [path = '', query] = url.split('?');
    const response = await admin.raw(path, { ...options, query: Object.fromEntries(new URLSearchParams(query)) });
    return { status: response.statusCode, headers: response.headers, text: await response.body.text() };
  };
  return { controlPlane, admin, asked, answer, raw, looks: () => looks };
}

test('a request passes as it is, without its credentials; the answer comes back', async (t) => {
  const { asked, answer, raw } = await scene(t);
  Object.assign(answer, {
    status: 418,
    headers: { 'content-type': 'text/odd', connection: 'close', 'x-own': '1' },
    body: 'teapot',
  });
  const reply = await raw('/api/v1/nodes/n1/proxy/run/a%2Fb/?cmd=x%20y', {
    method: 'POST',
    body: 'payload',
    headers: { 'x-more': 'yes', authorization: 'Bearer secret', 'x-remote-user': 'root' },
  });
  t.like(reply, { status: 418, text: 'teapot' });
  t.like(reply.headers, { 'content-type': 'text/odd', 'x-own': '1' });
  t.like(asked[0], { node: 'n1', method: 'POST', path: '/run/a%2Fb/', sent: 'payload' });
  t.is(asked[0]?.query.toString(), 'cmd=x+y');
  t.is(asked[0]?.headers['x-more'], 'yes');
  for (const name of ['authorization', 'x-remote-user', 'host']) t.false(name in asked[0]!.headers, name);
  await raw('/api/v1/nodes/n1/proxy');
  t.is(asked[1]?.path, '');
  t.is((await raw('/api/v1/nodes/nobody/proxy/pods')).status, 404);
});

for (const name of ['inside', 'local', 'named'])
  test(`CVE-2022-3294: a Node that says it is on the API server's own host is not asked: ${name}`, async (t) => {
    const { asked, raw } = await scene(t);
    const reply = await raw(`/api/v1/nodes/${name}/proxy/pods`);
    t.is(reply.status, 400);
    t.regex(reply.text, /address not allowed/);
    t.is(asked.length, 0);
  });

for (const location of [
  'https://evil.example/',
  '//evil.example/x',
  '/api/v1/secrets',
  '../../x',
  'a/b',
  '\\\\evil',
  '',
])
  test(`CVE-2020-8559, CVE-2022-3172: a node's redirect is not passed on: ${JSON.stringify(location)}`, async (t) => {
    const { answer, raw } = await scene(t);
    Object.assign(answer, { status: 302, headers: { location } });
    const reply = await raw('/api/v1/nodes/n1/proxy/logs');
    t.is(reply.status, 502);
    t.is(reply.headers['location'], undefined);
  });

test("a directory's own slash is no such redirect", async (t) => {
  const { answer, raw } = await scene(t);
  Object.assign(answer, { status: 301, headers: { location: 'logs/' } });
  t.like(await raw('/api/v1/nodes/n1/proxy/logs'), { status: 301 });
});

test('who may not nodes/proxy reaches no node by it', async (t) => {
  const { controlPlane, asked } = await scene(t);
  const stranger = await controlPlane.client('stranger', ['team']);
  const { statusCode, body } = await stranger.raw('/api/v1/nodes/n1/proxy/pods');
  await body.dump();
  t.is(statusCode, 403);
  t.is(asked.length, 0);
});

test('metrics.k8s.io: nodes and pods by name, by selector; what is not measured is not shown', async (t) => {
  const { raw, looks } = await scene(t);
  const get = async (path: string) => JSON.parse((await raw(`/apis/metrics.k8s.io/v1beta1/${path}`)).text);
  t.like(await get('nodes/n1'), {
    kind: 'NodeMetrics',
    usage: { cpu: '250000000n', memory: '524288Ki' },
    window: '10s',
  });
  t.like(await get('nodes/silent'), { kind: 'Status', code: 404 });
  t.deepEqual((await get('nodes')).items.map((one: { metadata: { name: string } }) => one.metadata.name).sort(), [
    'inside',
    'local',
    'n1',
    'named',
  ]);
  t.is((await get('nodes?labelSelector=rack%3Dn1')).items.length, 1);
  const web = await get('namespaces/default/pods/web');
  t.deepEqual(web.containers, [
    { name: 'a', usage: { cpu: '5000000n', memory: '3072Ki' } },
    { name: 'b', usage: { cpu: '7000000n', memory: '5120Ki' } },
  ]);
  t.is((await get('pods?labelSelector=app%3Dweb')).items.length, 1);
  t.is((await get('pods?labelSelector=app%3Dother')).items.length, 0);
  t.like(await get('namespaces/default/pods/new'), { code: 404 });
  t.true(looks() <= 5, `one look at each node: ${looks()}`);
  const watch = await raw('/apis/metrics.k8s.io/v1beta1/pods?watch=1');
  t.is(watch.status, 405);
});

const withKubectl = 'program' in found ? test : test.skip;
withKubectl(`kubectl top${'skip' in found ? ` (${found.skip})` : ''}`, async (t) => {
  const { controlPlane } = await scene(t);
  const pair = await controlPlane.credentials('admin', ['system:masters']);
  const kubectl = await createKubectl('program' in found ? found.program : '', { ...controlPlane, pair });
  t.teardown(() => kubectl.dispose());
  t.regex(await kubectl.ok(['top', 'pod', 'web']), /^web +12m +8Mi/m);
  t.regex(await kubectl.ok(['top', 'pod', '--containers', '-A']), /^default +web +b +7m +5Mi/m);
  t.regex(await kubectl.ok(['get', '--raw', '/apis/metrics.k8s.io/v1beta1/nodes/n1']), /"usage"/);
});
