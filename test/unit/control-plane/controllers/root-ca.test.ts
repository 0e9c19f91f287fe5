import test from 'ava';
import { createRootCaController } from '../../../../control-plane/controllers/root-ca.ts';
import { configMaps, namespaces } from '../../../../src/kube/resources.ts';
import type { Draft, Namespace } from '../../../../src/kube/types.ts';
import { createScene } from './scene.ts';

const draft = (name: string): Draft<Namespace> => ({ metadata: { name }, spec: {}, status: { phase: 'Active' } });
const NAME = 'kube-root-ca.crt';

test('kube-root-ca.crt is in every namespace, and right again after whatever was done to it', async (t) => {
  const scene = createScene(t);
  const { client } = scene;
  client.seed(namespaces, draft('a'));
  client.seed(configMaps, { metadata: { name: NAME, namespace: 'b' }, data: { 'ca.crt': 'old' } });
  client.seed(namespaces, draft('b'));
  await scene.start(createRootCaController({ caPem: 'PEM' }, scene.dependencies));
  const data = (namespace: string) => client.peek(configMaps, `${namespace}/${NAME}`)?.data;
  t.deepEqual(data('a'), { 'ca.crt': 'PEM' });
  t.deepEqual(data('b'), { 'ca.crt': 'PEM' }, 'of an authority that is no more');
  t.regex(
    client.peek(configMaps, `a/${NAME}`)?.metadata.annotations?.['kubernetes.io/description'] ?? '',
    /^Contains a CA bundle that can be used to verify the kube-apiserver/,
  );
  const { length } = client.writes;
  await scene.settle();
  t.is(client.writes.length, length, 'nothing is written when all is right');

  await client.delete(configMaps, { namespace: 'a', name: NAME });
  client.edit(configMaps, `b/${NAME}`, (map) => {
    map.data = { 'ca.crt': 'PEM', more: 'x' };
  });
  client.seed(namespaces, draft('c'));
  await scene.settle();
  for (const namespace of ['a', 'b', 'c']) t.deepEqual(data(namespace), { 'ca.crt': 'PEM' });
});

test('a namespace that is going gets none', async (t) => {
  const scene = createScene(t);
  scene.client.seed(namespaces, { ...draft('a'), status: { phase: 'Terminating' } });
  await scene.start(createRootCaController({ caPem: 'PEM' }, scene.dependencies));
  t.deepEqual(scene.client.writes, []);
});
