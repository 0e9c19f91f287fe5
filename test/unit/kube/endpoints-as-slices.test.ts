import test from 'ava';
import { asSliceHandlers, slicesOf } from '../../../src/kube/endpoints-as-slices.ts';
import type { EndpointSubset, Endpoints } from '../../../src/kube/types.ts';

function endpoints(subsets: EndpointSubset[] | undefined): Endpoints {
  const metadata = { name: 'web', namespace: 'shop', uid: 'u1', resourceVersion: '7', creationTimestamp: '' };
  return { metadata: { ...metadata, labels: { app: 'web' }, annotations: { note: 'x' } }, subsets } as Endpoints;
}

test('ready and unready addresses of a subset are endpoints of one slice', (t) => {
  const [slice, ...others] = slicesOf(
    endpoints([
      {
        addresses: [
          { ip: '10.0.0.1', nodeName: 'a', targetRef: { kind: 'Pod', name: 'web-1' } },
          { ip: '10.0.0.2', hostname: 'two' },
        ],
        notReadyAddresses: [{ ip: '10.0.0.3', nodeName: 'b' }],
        ports: [{ name: 'http', port: 80, protocol: 'TCP' }],
      },
    ]),
  );
  t.deepEqual(others, []);
  t.is(slice?.metadata.name, 'web-0-ipv4');
  t.is(slice?.metadata.namespace, 'shop');
  t.deepEqual(slice?.metadata.labels, { app: 'web', 'kubernetes.io/service-name': 'web' });
  t.deepEqual(slice?.metadata.annotations, { note: 'x' });
  t.is(slice?.addressType, 'IPv4');
  t.deepEqual(slice?.ports, [{ name: 'http', port: 80, protocol: 'TCP' }]);
  t.deepEqual(slice?.endpoints, [
    {
      addresses: ['10.0.0.1'],
      conditions: { ready: true },
      nodeName: 'a',
      targetRef: { kind: 'Pod', name: 'web-1' },
    },
    { addresses: ['10.0.0.2'], conditions: { ready: true }, hostname: 'two' },
    { addresses: ['10.0.0.3'], conditions: { ready: false }, nodeName: 'b' },
  ]);
});

test('each subset and each IP family has a slice of its own', (t) => {
  const slices = slicesOf(
    endpoints([
      { addresses: [{ ip: '10.0.0.1' }, { ip: 'fd00::1' }], ports: [{ port: 80 }] },
      { addresses: [{ ip: '10.0.0.1' }], ports: [{ port: 81 }] },
    ]),
  );
  t.deepEqual(
    slices.map((slice) => [
      slice.metadata.name,
      slice.addressType,
      slice.endpoints?.[0]?.addresses[0],
      slice.ports?.[0]?.port,
    ]),
    [
      ['web-0-ipv4', 'IPv4', '10.0.0.1', 80],
      ['web-0-ipv6', 'IPv6', 'fd00::1', 80],
      ['web-1-ipv4', 'IPv4', '10.0.0.1', 81],
    ],
  );
});

test('no addresses, no slices', (t) => {
  t.deepEqual(slicesOf(endpoints(undefined)), []);
  t.deepEqual(slicesOf(endpoints([{ ports: [{ port: 80 }] }])), []);
});

test('a change of Endpoints is told as the changes of its slices', (t) => {
  const heard: string[] = [];
  const handlers = asSliceHandlers({
    added: ({ metadata }) => heard.push(`+${metadata.name}`),
    updated: (_, { metadata, endpoints: all }) => heard.push(`~${metadata.name} ${all?.length}`),
    deleted: ({ metadata }) => heard.push(`-${metadata.name}`),
  });
  const one = endpoints([{ addresses: [{ ip: '10.0.0.1' }], ports: [{ port: 80 }] }]);
  const both = endpoints([
    { addresses: [{ ip: '10.0.0.1' }, { ip: '10.0.0.2' }, { ip: 'fd00::1' }], ports: [{ port: 80 }] },
  ]);
  handlers.added?.(one);
  handlers.updated?.(one, both);
  handlers.updated?.(both, one);
  handlers.updated?.(one, endpoints([]));
  handlers.deleted?.(endpoints([]));
  handlers.deleted?.(one);
  t.deepEqual(heard, [
    '+web-0-ipv4',
    '~web-0-ipv4 2',
    '+web-0-ipv6',
    '-web-0-ipv6',
    '~web-0-ipv4 1',
    '-web-0-ipv4',
    '-web-0-ipv4',
  ]);
});
