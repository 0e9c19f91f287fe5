import test from 'ava';
import {
  describeFieldErrors,
  duplicate,
  forbidden,
  invalid,
  notFound,
  notSupported,
  required,
  tooLong,
} from '../../../../control-plane/apiserver/field-error.ts';
import { labelName, pathSegmentName, serviceName, subdomainName } from '../../../../control-plane/apiserver/names.ts';
import * as status from '../../../../control-plane/apiserver/status-error.ts';

const pods = { group: '', plural: 'pods', kind: 'Pod' };
const deployments = { group: 'apps', plural: 'deployments', kind: 'Deployment' };

test('field errors read as upstream’s', (t) => {
  const texts = [
    required('spec.containers'),
    required('spec.name', 'why'),
    invalid('spec.replicas', -1, 'must be greater than or equal to 0'),
    notSupported('spec.type', 'X', ['A', 'B']),
    duplicate('spec.ports[1].name', 'web'),
    forbidden('spec.nodeName', 'not now'),
    notFound('spec.volumes[0]', 'v'),
    tooLong('metadata.annotations', 10),
  ].map((error) => describeFieldErrors([error]));
  t.deepEqual(texts, [
    'spec.containers: Required value',
    'spec.name: Required value: why',
    'spec.replicas: Invalid value: -1: must be greater than or equal to 0',
    'spec.type: Unsupported value: "X": supported values: "A", "B"',
    'spec.ports[1].name: Duplicate value: "web"',
    'spec.nodeName: Forbidden: not now',
    'spec.volumes[0]: Not found: "v"',
    'metadata.annotations: Too long: may not be more than 10 bytes',
  ]);
});

test('Status errors read as upstream’s', (t) => {
  t.is(status.notFound(pods, 'x').message, 'pods "x" not found');
  t.is(status.notFound(deployments, 'x').message, 'deployments.apps "x" not found');
  t.deepEqual(status.notFound(deployments, 'x').status.details, { name: 'x', group: 'apps', kind: 'deployments' });
  const one = status.invalidObject(pods, 'x', [required('spec.containers')]);
  t.is(one.message, 'Pod "x" is invalid: spec.containers: Required value');
  t.deepEqual(one.status, {
    kind: 'Status',
    apiVersion: 'v1',
    metadata: {},
    status: 'Failure',
    message: 'Pod "x" is invalid: spec.containers: Required value',
    reason: 'Invalid',
    details: {
      name: 'x',
      kind: 'Pod',
      causes: [{ reason: 'FieldValueRequired', message: 'Required value', field: 'spec.containers' }],
    },
    code: 422,
  });
  const two = status.invalidObject(deployments, 'd', [required('a'), required('b'), required('a')]);
  t.is(two.message, 'Deployment.apps "d" is invalid: [a: Required value, b: Required value]');
  t.is(status.conflict(pods, 'x', 'why').message, 'Operation cannot be fulfilled on pods "x": why');
  t.is(status.forbidden(pods, 'x', 'why').message, 'pods "x" is forbidden: why');
  t.is(status.resourceVersionTooLarge(9, 3).message, 'Too large resource version: 9, current: 3');
});

test('names', (t) => {
  t.deepEqual(subdomainName('a.b-c'), []);
  t.deepEqual(subdomainName('gen-', true), []);
  t.is(subdomainName('gen-').length, 1);
  t.is(subdomainName('A').length, 1);
  t.is(subdomainName(`${'a'.repeat(254)}`).length, 1);
  t.is(labelName('a.b').length, 1);
  t.deepEqual(labelName('1a'), []);
  t.is(serviceName('1a').length, 1);
  t.deepEqual(pathSegmentName('system:x'), []);
  t.is(pathSegmentName('a/b%').length, 2);
  t.is(pathSegmentName('..').length, 1);
});
