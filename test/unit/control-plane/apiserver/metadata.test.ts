import test from 'ava';
import type { ResourceDefinition } from '../../../../control-plane/apiserver/definition.ts';
import { generateName } from '../../../../control-plane/apiserver/generate-name.ts';
import {
  dropEmptyMetadata,
  restoreSystemMetadata,
  validateMetadata,
  validateMetadataUpdate,
} from '../../../../control-plane/apiserver/metadata.ts';
import { subdomainName } from '../../../../control-plane/apiserver/names.ts';
import type { ObjectMeta } from '../../../../src/kube/types.ts';

const definition = { namespaced: true, validateName: subdomainName } as unknown as ResourceDefinition;
const metadata = (more: Partial<ObjectMeta>) => ({ name: 'x', namespace: 'n', ...more }) as ObjectMeta;
const problems = (more: Partial<ObjectMeta>) =>
  validateMetadata(metadata(more), definition).map((error) => `${error.type} ${error.field}`);

test('metadata is validated', (t) => {
  t.deepEqual(problems({}), []);
  t.deepEqual(problems({ name: '', generateName: 'A-' }), [
    'FieldValueInvalid metadata.generateName',
    'FieldValueRequired metadata.name',
  ]);
  t.deepEqual(problems({ namespace: undefined }), ['FieldValueRequired metadata.namespace']);
  t.deepEqual(problems({ labels: { ok: 'fine', 'a/b/c': '', k: '-' } }), [
    'FieldValueInvalid metadata.labels',
    'FieldValueInvalid metadata.labels',
  ]);
  t.deepEqual(problems({ annotations: { 'Example.COM/Key': 'any thing' } }), []);
  t.deepEqual(problems({ annotations: { big: 'x'.repeat(256 * 1024) } }), ['FieldValueTooLong metadata.annotations']);
  t.deepEqual(problems({ finalizers: ['orphan', 'example.com/x', 'no way'] }), [
    'FieldValueInvalid metadata.finalizers[2]',
  ]);
  const owner = { apiVersion: 'v1', kind: 'Pod', name: 'p', uid: 'u', controller: true };
  t.deepEqual(problems({ ownerReferences: [owner, { ...owner, uid: 'v' }] }), [
    'FieldValueInvalid metadata.ownerReferences',
  ]);
  t.deepEqual(problems({ ownerReferences: [{ ...owner, uid: '' }] }), [
    'FieldValueInvalid metadata.ownerReferences[0].uid',
  ]);
});

test('no new finalizers on an object that is being deleted', (t) => {
  const deleting = metadata({ deletionTimestamp: 'now', finalizers: ['a', 'b'] });
  t.is(validateMetadataUpdate(metadata({ finalizers: ['a'] }), deleting).length, 0);
  t.is(validateMetadataUpdate(metadata({ finalizers: ['a', 'c'] }), deleting).length, 1);
});

test('what the server owns comes from the stored object', (t) => {
  const sent = metadata({ uid: 'fake', generation: 9, deletionTimestamp: 'x', managedFields: [{}], selfLink: 's' });
  restoreSystemMetadata(sent, metadata({ uid: 'u', creationTimestamp: 'c', generation: 2, generateName: 'g-' }));
  t.deepEqual({ ...sent }, metadata({ uid: 'u', creationTimestamp: 'c', generation: 2, generateName: 'g-' }));
});

test('empty maps and lists are dropped', (t) => {
  const object = metadata({ labels: {}, annotations: { a: 'b' }, finalizers: [] });
  dropEmptyMetadata(object);
  t.deepEqual(object, metadata({ annotations: { a: 'b' } }));
});

test('generated names fit into 63 characters', (t) => {
  t.is(
    generateName('web-', () => 0),
    'web-bbbbb',
  );
  t.is(generateName('x'.repeat(80), () => 0.999).length, 63);
});
