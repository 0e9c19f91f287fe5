import test from 'ava';
import { definePods } from '../../../../control-plane/resources/pods.ts';
import type { Container, Pod, PodSpec, ServiceAccount } from '../../../../src/kube/types.ts';
import { errorTexts, meta, strategyContext } from '../../../support/strategy-context.ts';

const pods = definePods({ subresources: {}, sleep: async () => {}, random: () => 0 });
const MOUNT = {
  name: 'kube-api-access-bbbbb',
  readOnly: true,
  mountPath: '/var/run/secrets/kubernetes.io/serviceaccount',
};

async function created(spec: Partial<PodSpec>, account: Partial<ServiceAccount> = {}, rest: Partial<Pod> = {}) {
  const pod: Pod = { metadata: meta('p'), spec: { containers: [{ name: 'c', image: 'x:1' }], ...spec }, ...rest };
  pods.applyDefaults(pod);
  const context = strategyContext(undefined, { serviceaccounts: [{ metadata: meta('default'), ...account }] });
  await pods.prepareForCreate(pod, context);
  assertValid(pod);
  return pod.spec;
}

/** What admission adds must pass validation: it runs after. */
function assertValid(pod: Pod): void {
  const problems = errorTexts(pods.validate(pod));
  if (problems.length > 0) throw new Error(problems.join('\n'));
}

test('every container gets the token, the CA and the namespace', async (t) => {
  const spec = await created({
    initContainers: [{ name: 'i', image: 'x:1' }],
    containers: [
      { name: 'c', image: 'x:1', volumeMounts: [{ name: 'data', mountPath: '/data' }] },
      { name: 'd', image: 'x:1' },
    ],
    volumes: [{ name: 'data', emptyDir: {} }],
  });
  t.deepEqual(spec.initContainers?.[0]?.volumeMounts, [MOUNT]);
  t.deepEqual(spec.containers[0]?.volumeMounts, [{ name: 'data', mountPath: '/data' }, MOUNT]);
  t.deepEqual(spec.containers[1]?.volumeMounts, [MOUNT]);
  t.deepEqual(spec.volumes?.slice(1), [
    {
      name: 'kube-api-access-bbbbb',
      projected: {
        defaultMode: 0o644,
        sources: [
          { serviceAccountToken: { path: 'token', expirationSeconds: 3607 } },
          { configMap: { name: 'kube-root-ca.crt', items: [{ key: 'ca.crt', path: 'ca.crt' }] } },
          {
            downwardAPI: {
              items: [{ path: 'namespace', fieldRef: { apiVersion: 'v1', fieldPath: 'metadata.namespace' } }],
            },
          },
        ],
      },
    },
  ]);
});

const own: Container = {
  name: 'c',
  image: 'x:1',
  volumeMounts: [{ name: 'mine', mountPath: '/var/run/secrets/kubernetes.io/serviceaccount' }],
};
const wishes: [string, Partial<PodSpec>, Partial<ServiceAccount>, boolean][] = [
  ['nobody says anything', {}, {}, true],
  ['the pod says no', { automountServiceAccountToken: false }, {}, false],
  ['the account says no', {}, { automountServiceAccountToken: false }, false],
  ['the pod says yes', { automountServiceAccountToken: true }, { automountServiceAccountToken: false }, true],
  [
    'the pod says no, the account yes',
    { automountServiceAccountToken: false },
    { automountServiceAccountToken: true },
    false,
  ],
  ['its container has that place taken', { containers: [own], volumes: [{ name: 'mine', emptyDir: {} }] }, {}, false],
];
for (const [what, spec, account, wanted] of wishes)
  test(`a pod ${wanted ? 'gets' : 'gets no'} token when ${what}`, async (t) => {
    const { volumes = [] } = await created(spec, account);
    t.is(
      volumes.some(({ name }) => name.startsWith('kube-api-access-')),
      wanted,
    );
  });

test('a pod that was read from a cluster keeps its volume', async (t) => {
  const first = await created({});
  const second = await created({ containers: [{ name: 'c', image: 'x:1' }], volumes: first.volumes });
  t.is(second.volumes?.length, 1);
  t.deepEqual(second.containers[0]?.volumeMounts, [MOUNT]);
});

test('a mirror pod gets nothing, and may bring nothing of the kind', async (t) => {
  const metadata = meta('p', { annotations: { 'kubernetes.io/config.mirror': 'hash' } });
  const mirror = (spec: Partial<PodSpec>) => created({ nodeName: 'n1', ...spec }, {}, { metadata });
  t.is((await mirror({})).volumes, undefined);
  const projected = { sources: [{ serviceAccountToken: { path: 'token' } }] };
  await t.throwsAsync(mirror({ serviceAccountName: 'default' }), { message: /may not reference service accounts$/ });
  await t.throwsAsync(mirror({ imagePullSecrets: [{ name: 's' }] }), { message: /may not reference secrets$/ });
  await t.throwsAsync(mirror({ volumes: [{ name: 'v', projected }] }), {
    message: 'pods "p" is forbidden: a mirror pod may not use ServiceAccountToken volume projections',
  });
});
