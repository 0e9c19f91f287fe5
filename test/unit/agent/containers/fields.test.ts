import test from 'ava';
import { containerResourceField, podField } from '../../../../agent/containers/fields.ts';
import type { Container, Pod } from '../../../../src/kube/types.ts';
import { podOf } from '../pod.ts';

const ALLOCATABLE = { cpuMillis: 3900, memoryBytes: 8 * 2 ** 30, ephemeralStorageBytes: 10 * 2 ** 30 };

function resourceOf(
  container: Partial<Container>,
  resource: string,
  divisor?: string,
  spec: Partial<Pod['spec']> = {},
) {
  const self = { name: 'app', image: 'i', ...container };
  const pod = podOf({ ...spec, containers: [self] });
  return containerResourceField(pod, self, { resource, ...(divisor !== undefined && { divisor }) }, ALLOCATABLE);
}

const limits = (list: Record<string, string>) => ({ resources: { limits: list } });
const requests = (list: Record<string, string>) => ({ resources: { requests: list } });

for (const [title, container, resource, divisor, expected] of [
  ['whole cores', limits({ cpu: '2' }), 'limits.cpu', undefined, '2'],
  ['parts of a core are rounded up', limits({ cpu: '1001m' }), 'limits.cpu', '1', '2'],
  ['millicores', limits({ cpu: '1001m' }), 'limits.cpu', '1m', '1001'],
  ['parts of a millicore are rounded up', limits({ cpu: '100u' }), 'limits.cpu', '1m', '1'],
  ['the API’s own default of the divisor', limits({ cpu: '1500m' }), 'limits.cpu', '0', '2'],
  ['bytes', limits({ memory: '1Mi' }), 'limits.memory', undefined, '1048576'],
  ['mebibytes, rounded up', limits({ memory: '1025Ki' }), 'limits.memory', '1Mi', '2'],
  ['megabytes', limits({ memory: '1Gi' }), 'limits.memory', '1M', '1074'],
  ['exbibytes', limits({ memory: '1Gi' }), 'limits.memory', '1Ei', '1'],
  ['a limit that is none: the node’s', limits({ cpu: '0' }), 'limits.cpu', '1m', '3900'],
  ['no limit: the node’s memory', {}, 'limits.memory', '1Gi', '8'],
  ['no limit: the node’s disk', {}, 'limits.ephemeral-storage', '1Gi', '10'],
  ['no request', {}, 'requests.cpu', '1m', '0'],
  ['requests', requests({ 'ephemeral-storage': '3G' }), 'requests.ephemeral-storage', '1G', '3'],
  ['huge pages', limits({ 'hugepages-2Mi': '10Mi' }), 'limits.hugepages-2Mi', '1Mi', '10'],
  ['no huge pages', {}, 'limits.hugepages-2Mi', '1Mi', '0'],
] as [string, Partial<Container>, string, string | undefined, string][])
  test(`resource field: ${title}`, (t) => {
    t.is(resourceOf(container, resource, divisor), expected);
  });

test('resource field: the pod’s own limit comes before the node’s', (t) => {
  const spec = { resources: { limits: { cpu: '500m', memory: '1Gi' } } };
  t.is(resourceOf({}, 'limits.cpu', '1m', spec), '500');
  t.is(resourceOf({}, 'limits.memory', '1Mi', spec), '1024');
  t.is(resourceOf(limits({ cpu: '200m' }), 'limits.cpu', '1m', spec), '200');
});

test('resource field: what there is not', (t) => {
  t.throws(() => resourceOf({}, 'limits.gpu'), { message: 'unsupported container resource : limits.gpu' });
  t.throws(() => resourceOf({}, 'cpu'), { message: 'unsupported container resource : cpu' });
  const pod = podOf({ initContainers: [{ name: 'init', image: 'i', ...limits({ cpu: '3' }) }] });
  t.is(containerResourceField(pod, undefined, { containerName: 'init', resource: 'limits.cpu' }, ALLOCATABLE), '3');
  t.throws(() => containerResourceField(pod, undefined, { containerName: 'x', resource: 'limits.cpu' }, ALLOCATABLE), {
    message: 'container x not found',
  });
});

test('maps: sorted lines, quoted as Go does', (t) => {
  const pod = podOf({}, { annotations: { b: 'two\nlines "x" \\', a: 'ä\u0007\u001f\u200b\u{e0001}', 'c/d': '' } });
  t.is(
    podField(pod, 'metadata.annotations', { podIps: [], hostIps: [] }),
    'a="ä\\a\\x1f\\u200b\\U000e0001"\nb="two\\nlines \\"x\\" \\\\"\nc/d=""',
  );
  t.is(podField(pod, "metadata.annotations['c/d']", { podIps: [], hostIps: [] }), '');
  t.is(podField(pod, 'spec.hostname', { podIps: [], hostIps: [] }), undefined);
});
