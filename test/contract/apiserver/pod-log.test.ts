import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { TLSSocket } from 'node:tls';
import test from 'ava';
import { createNodeConnection } from '../../../control-plane/apiserver/nodes/node-connection.ts';
import { createCertificateAuthority, issueCertificate } from '../../../src/auth/authority.ts';
import { nodes, pods, serviceAccounts } from '../../../src/kube/resources.ts';
import { startTestControlPlane } from '../../support/control-plane.ts';
import { createRawClient } from '../../support/raw-api.ts';

/** A stand-in for the node's agent that takes certificates of its CA only. */
async function setUp(t: import('ava').ExecutionContext) {
  const nowMs = Date.now();
  const ca = await createCertificateAuthority({ commonName: 'node-ca', days: 1, nowMs });
  const issue = (commonName: string, usage: 'client' | 'server') =>
    issueCertificate(ca, { commonName, ipAddresses: ['127.0.0.1'], usages: [usage], days: 1, nowMs });
  const [serving, client] = [await issue('node', 'server'), await issue('kube-apiserver-kubelet-client', 'client')];
  const asked: string[] = [];
  const users: string[] = [];
  const release: { open?: () => void } = {};
  const agent = createServer(
    { cert: serving.certPem, key: serving.keyPem, ca: ca.certPem, requestCert: true, rejectUnauthorized: true },
    (request, response) => {
      asked.push(request.url ?? '');
      users.push(String((request.socket as TLSSocket).getPeerCertificate().subject.CN));
      if (request.url?.includes('/waiting')) {
        response.writeHead(400).end('container "waiting" in pod "p" is waiting to start: ContainerCreating');
        return;
      }
      response.writeHead(200, { 'content-type': 'text/plain' });
      response.write('{"line":1}\n');
      release.open = () => response.end('{"line":2}\n');
      if (!request.url?.includes('follow=true')) release.open();
    },
  );
  await new Promise<void>((resolve) => agent.listen(0, '127.0.0.1', resolve));
  const connection = createNodeConnection({ ...client, caPem: ca.certPem });
  const controlPlane = await startTestControlPlane({ nodes: connection });
  const api = createRawClient(controlPlane, {
    http: 2,
    pair: await controlPlane.credentials('admin', ['system:masters']),
  });
  t.teardown(async () => {
    api.close();
    await connection.close();
    await controlPlane.stop();
    agent.closeAllConnections();
    agent.close();
  });
  await controlPlane.createNamespaces('default');
  const admin = await controlPlane.admin();
  await admin.create(
    serviceAccounts,
    { metadata: { name: 'default', namespace: 'default' } },
    { namespace: 'default' },
  );
  const node = await admin.create(nodes, { metadata: { name: 'n1' }, spec: {} });
  const status = {
    addresses: [{ type: 'InternalIP', address: '127.0.0.1' }],
    daemonEndpoints: { kubeletEndpoint: { Port: (agent.address() as AddressInfo).port } },
  };
  await admin.replace(nodes, { ...node, status } as typeof node, { subresource: 'status' });
  const makePod = (name: string, containers: string[], nodeName?: string) =>
    admin.create(
      pods,
      {
        metadata: { name, namespace: 'default' },
        spec: { nodeName, containers: containers.map((one) => ({ name: one, image: 'i' })) },
      },
      { namespace: 'default' },
    );
  const log = (pod: string, query = '') => api.send({ path: `/api/v1/namespaces/default/pods/${pod}/log${query}` });
  return { api, asked, users, release, makePod, log };
}

test('logs come from the node, with the kubelet client certificate', async (t) => {
  const { asked, users, makePod, log } = await setUp(t);
  await makePod('p', ['c'], 'n1');
  const answer = await log('p', '?tailLines=5&timestamps=true&previous=false&limitBytes=100&sinceSeconds=9&pretty=1');
  t.is(answer.status, 200);
  t.is(answer.headers['content-type'], 'text/plain');
  t.is(answer.text, '{"line":1}\n{"line":2}\n');
  t.deepEqual(users, ['kube-apiserver-kubelet-client']);
  t.deepEqual(asked, ['/containerLogs/default/p/c?timestamps=true&sinceSeconds=9&tailLines=5&limitBytes=100']);
});

test('a followed log is passed on as it comes and ends with the client', async (t) => {
  const { api, release, makePod } = await setUp(t);
  await makePod('p', ['c'], 'n1');
  const stream = api.lines('/api/v1/namespaces/default/pods/p/log?follow=true');
  t.deepEqual(await stream.next(), { line: 1 });
  release.open!();
  t.deepEqual(await stream.next(), { line: 2 });
  t.is(await stream.next(), undefined);
  const left = api.lines('/api/v1/namespaces/default/pods/p/log?follow=true');
  t.deepEqual(await left.next(), { line: 1 });
  left.close();
});

test('refusals: container, options, node, agent', async (t) => {
  const { makePod, log } = await setUp(t);
  await makePod('two', ['a', 'waiting'], 'n1');
  t.is((await log('two')).json.message, 'a container name must be specified for pod two, choose one of: [a waiting]');
  t.is((await log('two', '?container=x')).json.message, 'container x is not valid for pod two');
  const waiting = await log('two', '?container=waiting');
  t.like(waiting.json, {
    code: 400,
    reason: 'BadRequest',
    message: 'container "waiting" in pod "p" is waiting to start: ContainerCreating',
  });
  t.is((await log('two', '?container=a&tailLines=-1')).status, 422);
  t.is((await log('two', '?container=a&tailLines=x')).status, 400);
  t.is((await log('absent')).json.message, 'pods "absent" not found');
  await makePod('unscheduled', ['c']);
  const empty = await log('unscheduled');
  t.is(empty.status, 200);
  t.is(empty.text, '');
  await makePod('lost', ['c'], 'n2');
  t.is((await log('lost')).json.message, 'nodes "n2" not found');
});
