import test from 'ava';
import { createAuthorizer } from '../../../../control-plane/authorization/authorizer.ts';
import { driverAudiences } from '../../../../control-plane/authorization/node-storage.ts';
import type { KubeObject, Pod } from '../../../../src/kube/types.ts';
import { meta, nodeUser, objectReader } from '../../../support/strategy-context.ts';

const cluster = (name: string) => meta(name, { namespace: '' });
const podOf = (name: string, nodeName: string, volumes: Pod['spec']['volumes'] = []): Pod => ({
  metadata: meta(name),
  spec: { nodeName, containers: [{ name: 'c', image: 'x:1' }], volumes },
});
const claim = (name: string, volumeName: string) => ({ metadata: meta(name), spec: { volumeName } });
const csi = {
  driver: 'disk.example',
  volumeHandle: 'h',
  nodeStageSecretRef: { namespace: 'vault', name: 'stage' },
  nodePublishSecretRef: { namespace: 'vault', name: 'publish' },
  controllerPublishSecretRef: { namespace: 'vault', name: 'attach' },
};
const pods = [
  podOf('mine', 'n1', [
    { name: 'a', persistentVolumeClaim: { claimName: 'data' } },
    { name: 'b', ephemeral: { volumeClaimTemplate: { spec: {} } } },
    { name: 'c', csi: { driver: 'inline.example' } },
  ]),
  podOf('other', 'n2', [{ name: 'a', persistentVolumeClaim: { claimName: 'theirs' } }]),
];
const objects = objectReader({
  pods,
  persistentvolumeclaims: [claim('data', 'pv-1'), claim('mine-b', 'pv-2'), claim('theirs', 'pv-3')],
  persistentvolumes: [
    { metadata: cluster('pv-1'), spec: { csi } },
    { metadata: cluster('pv-2'), spec: {} },
    { metadata: cluster('pv-3'), spec: {} },
  ] as unknown as KubeObject[],
  volumeattachments: [
    { metadata: cluster('va-1'), spec: { nodeName: 'n1' } },
    { metadata: cluster('va-2'), spec: { nodeName: 'n2' } },
  ] as unknown as KubeObject[],
  csidrivers: [
    { metadata: cluster('disk.example'), spec: { tokenRequests: [{ audience: 'vault' }] } },
    { metadata: cluster('inline.example'), spec: { tokenRequests: [{ audience: '' }] } },
    { metadata: cluster('stranger.example'), spec: { tokenRequests: [{ audience: 'no' }] } },
  ] as unknown as KubeObject[],
});
const authorizer = createAuthorizer({ objects });

const CASES: [string, boolean][] = [
  ['get /persistentvolumeclaims default/data', true],
  ['get /persistentvolumeclaims default/mine-b', true],
  ['get /persistentvolumeclaims default/theirs', false],
  ['update /persistentvolumeclaims default/data', false],
  ['list /persistentvolumeclaims default/', false],
  ['get /persistentvolumes /pv-1', true],
  ['get /persistentvolumes /pv-2', true],
  ['get /persistentvolumes /pv-3', false],
  ['list /persistentvolumes /', false],
  ['update /persistentvolumes /pv-1', false],
  ['get storage.k8s.io/volumeattachments /va-1', true],
  ['get storage.k8s.io/volumeattachments /va-2', false],
  ['create storage.k8s.io/csinodes /', true],
  ['update storage.k8s.io/csinodes /n1', true],
  ['update storage.k8s.io/csinodes /n2', false],
  ['list storage.k8s.io/csinodes /', false],
  ['list storage.k8s.io/csidrivers /', true],
  ['update storage.k8s.io/csidrivers /disk.example', false],
  ['get storage.k8s.io/storageclasses /x', false],
  ['get /secrets vault/stage', true],
  ['get /secrets vault/publish', true],
  ['get /secrets vault/attach', false],
];
for (const [text, expected] of CASES)
  test(`a node: ${text}`, async (t) => {
    const [verb = '', what = '', target = ''] = text.split(' ');
    const [apiGroup = '', resource = ''] = what.split('/');
    const [namespace = '', name = ''] = target.split('/');
    const decision = await authorizer.authorize({
      user: nodeUser('n1'),
      verb,
      apiGroup,
      resource,
      namespace,
      name,
      apiVersion: 'v1',
      path: '',
      subresource: '',
      fieldSelector: '',
      labelSelector: '',
      resourceRequest: true,
    });
    t.is(decision.allowed, expected);
  });

test('tokens: for the audiences of the drivers that the pod’s volumes are of', async (t) => {
  t.deepEqual((await driverAudiences(pods[0]!, objects)).sort(), ['', 'vault']);
  t.deepEqual(await driverAudiences(pods[1]!, objects), []);
});
