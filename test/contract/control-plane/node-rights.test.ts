import test from 'ava';
import {
  csiDrivers,
  csiNodes,
  nodes,
  persistentVolumeClaims,
  persistentVolumes,
  pods,
  secrets,
  serviceAccounts,
} from '../../../src/kube/resources.ts';
import type { Node, Pod } from '../../../src/kube/types.ts';
import { startTestControlPlane, type TestControlPlane } from '../../support/control-plane.ts';

/** What a node's certificate opens, asked of the real server. */

let controlPlane: TestControlPlane;

test.before(async () => {
  controlPlane = await startTestControlPlane();
  await controlPlane.createNamespaces('default', 'kube-node-lease');
  const admin = await controlPlane.admin();
  await admin.create(serviceAccounts, { metadata: { name: 'default' } }, { namespace: 'default' });
  for (const name of ['used', 'unused']) await admin.create(secrets, { metadata: { name } }, { namespace: 'default' });
});
test.after.always(() => controlPlane?.stop());

const nodeClient = (name: string) => controlPlane.client(`system:node:${name}`, ['system:nodes']);
const makeNode = (name: string) => ({ metadata: { name }, spec: {} });
const makePod = (name: string, nodeName: string, secretName?: string) => ({
  metadata: { name },
  spec: {
    nodeName,
    containers: [
      { name: 'c', image: 'x:1', ...(secretName ? { envFrom: [{ secretRef: { name: secretName } }] } : {}) },
    ],
  },
});

test.serial('a node registers itself and nobody else', async (t) => {
  const client = await nodeClient('n1');
  await client.create<Node>(nodes, makeNode('n1'));
  await t.throwsAsync(client.create<Node>(nodes, makeNode('n2')), {
    message: 'nodes "n2" is forbidden: node "n1" is not allowed to modify node "n2"',
  });
  await t.throwsAsync(client.patch(nodes, { name: 'n1', type: 'merge', patch: { spec: { taints: [] } } }), {
    message: /is not allowed to modify taints/,
  });
  await t.notThrowsAsync(
    client.patch(nodes, {
      name: 'n1',
      subresource: 'status',
      type: 'strategic',
      patch: { status: { conditions: [{ type: 'Ready', status: 'True' }] } },
    }),
  );
});

test.serial('a secret opens with a pod that needs it', async (t) => {
  const admin = await controlPlane.admin();
  const client = await nodeClient('n1');
  const used = { namespace: 'default', name: 'used' };
  await t.throwsAsync(client.get(secrets, used), {
    message: /no relationship found between node 'n1' and this object$/,
  });
  await admin.create<Pod>(pods, makePod('mine', 'n1', 'used'), { namespace: 'default' });
  await t.notThrowsAsync(client.get(secrets, used));
  await t.notThrowsAsync(client.list(secrets, { namespace: 'default', fieldSelector: 'metadata.name=used' }));
  await t.throwsAsync(client.get(secrets, { ...used, name: 'unused' }), { message: /no relationship/ });
  await t.throwsAsync(client.list(secrets, { namespace: 'default' }), { message: /No Object name found$/ });
  // An escaped comma: one term that selects every secret.
  await t.throwsAsync(client.list(secrets, { namespace: 'default', fieldSelector: 'type!=x\\,metadata.name=used' }), {
    message: /No Object name found|invalid|unescaped/,
  });
  await t.throwsAsync((await nodeClient('n2')).get(secrets, used), { message: /no relationship/ });
});

test.serial('a node sees and reports its own pods', async (t) => {
  const admin = await controlPlane.admin();
  await admin.create<Pod>(pods, makePod('other', 'n2'), { namespace: 'default' });
  const client = await nodeClient('n1');
  const { items } = await client.list<Pod>(pods, { fieldSelector: 'spec.nodeName=n1' });
  t.deepEqual(
    items.map(({ metadata }) => metadata.name),
    ['mine'],
  );
  await t.throwsAsync(client.list(pods), { message: /can only list\/watch pods with spec.nodeName field selector$/ });
  const report = (name: string) =>
    client.patch<Pod>(pods, {
      namespace: 'default',
      name,
      subresource: 'status',
      type: 'merge',
      patch: { status: { phase: 'Running' } },
    });
  t.is((await report('mine')).status?.phase, 'Running');
  await t.throwsAsync(report('other'), {
    message: /can only update pod status for pods with spec.nodeName set to itself/,
  });
  await t.throwsAsync(client.delete(pods, { namespace: 'default', name: 'other' }), {
    message: /can only delete pods with spec.nodeName set to itself/,
  });
  await client.delete(pods, { namespace: 'default', name: 'mine', gracePeriodSeconds: 0 });
  await t.throwsAsync(admin.get(pods, { namespace: 'default', name: 'mine' }), { message: /not found/ });
});

test.serial('a node keeps its own CSINode, and reads the claims and volumes of its pods', async (t) => {
  const admin = await controlPlane.admin();
  const client = await nodeClient('n1');
  const drivers = [{ name: 'disk.example', nodeID: 'n1' }];
  const made = await client.create(csiNodes, { metadata: { name: 'n1' }, spec: { drivers: [] } });
  await t.notThrowsAsync(client.replace(csiNodes, { ...made, spec: { drivers } }));
  await t.throwsAsync(client.create(csiNodes, { metadata: { name: 'n2' }, spec: { drivers: [] } }), {
    message: /can only access CSINode with the same name as the requesting node/,
  });
  const claim = { namespace: 'default', name: 'data' };
  const spec = { accessModes: ['ReadWriteOnce' as const], resources: { requests: { storage: '1Gi' } } };
  await admin.create(persistentVolumeClaims, { metadata: claim, spec: { ...spec, volumeName: 'pv-1' } });
  const csi = { driver: 'disk.example', volumeHandle: 'h' };
  await admin.create(persistentVolumes, {
    metadata: { name: 'pv-1' },
    spec: { accessModes: ['ReadWriteOnce'], capacity: { storage: '1Gi' }, csi },
  });
  await t.throwsAsync(client.get(persistentVolumeClaims, claim), { message: /no relationship found/ });
  await t.throwsAsync(client.get(persistentVolumes, { name: 'pv-1' }), { message: /no relationship found/ });
  const pod = makePod('keeper', 'n1');
  const volumes = [{ name: 'data', persistentVolumeClaim: { claimName: 'data' } }];
  const keeper = await admin.create<Pod>(pods, { ...pod, spec: { ...pod.spec, volumes } }, { namespace: 'default' });
  await t.notThrowsAsync(client.get(persistentVolumeClaims, claim));
  await t.notThrowsAsync(client.get(persistentVolumes, { name: 'pv-1' }));
  await t.throwsAsync(client.list(persistentVolumeClaims, { namespace: 'default' }), { message: /forbidden/ });

  const { name, uid } = keeper.metadata;
  const token = (audience: string) =>
    client.create(
      serviceAccounts,
      {
        apiVersion: 'authentication.k8s.io/v1',
        kind: 'TokenRequest',
        metadata: {},
        spec: { audiences: [audience], boundObjectRef: { apiVersion: 'v1', kind: 'Pod', name, uid } },
      } as never,
      { namespace: 'default', name: 'default', subresource: 'token' },
    );
  await t.throwsAsync(token('vault'), { message: /audience "vault" not found in pod spec volume/ });
  const tokenRequests = [{ audience: 'vault' }];
  await admin.create(csiDrivers, { metadata: { name: 'disk.example' }, spec: { tokenRequests } });
  await t.notThrowsAsync(token('vault'));
});
