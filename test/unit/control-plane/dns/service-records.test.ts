import test from 'ava';
import { computeServiceRecords } from '../../../../control-plane/dns/service-records.ts';
import type { EndpointSlice, Service } from '../../../../src/kube/types.ts';
import { serviceOf, sliceOf } from '../../../support/proxy.ts';

const OPTIONS = { domain: 'cluster.local', ttlSeconds: 30 };

/** `name TYPE data`, sorted. */
function lines(service: Service, slices: EndpointSlice[] = []): string[] {
  return computeServiceRecords(service, slices, OPTIONS)
    .flatMap(({ name, records }) =>
      records.map(({ type, data, ttlSeconds }) => {
        t30(ttlSeconds);
        const text = type === 'SRV' ? `${data.priority} ${data.weight} ${data.port} ${data.target}` : (data as string);
        return `${name} ${type} ${text}`.replaceAll('.svc.cluster.local', '…');
      }),
    )
    .sort();
}

function t30(ttlSeconds: number): void {
  if (ttlSeconds !== 30) throw new Error(`TTL ${ttlSeconds}`);
}

test('a Service with a ClusterIP: its name, its named ports, and the way back', (t) => {
  const ports = [
    { name: 'http', port: 80, protocol: 'TCP' as const },
    { name: 'DNS', port: 53, protocol: 'UDP' as const },
    { port: 9 },
  ];
  t.deepEqual(lines(serviceOf('default/web', '10.96.1.2', { ports })), [
    '2.1.96.10.in-addr.arpa PTR web.default…',
    '_dns._udp.web.default… SRV 0 100 53 web.default…',
    '_http._tcp.web.default… SRV 0 100 80 web.default…',
    'web.default… A 10.96.1.2',
  ]);
});

test('two families', (t) => {
  t.deepEqual(lines(serviceOf('a/b', '10.96.0.5', { clusterIPs: ['10.96.0.5', 'fd00:96::5'] })), [
    '5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.6.9.0.0.0.0.d.f.ip6.arpa PTR b.a…',
    '5.0.96.10.in-addr.arpa PTR b.a…',
    'b.a… A 10.96.0.5',
    'b.a… AAAA fd00:96::5',
  ]);
});

test('a Service without an address yet has no names', (t) => {
  t.deepEqual(lines(serviceOf('a/b', '')), []);
});

test('ExternalName is an alias; an address is none', (t) => {
  const external = (externalName: string) =>
    serviceOf('a/b', '', { type: 'ExternalName', externalName, clusterIPs: undefined });
  t.deepEqual(lines(external('WWW.Example.org.')), ['b.a… CNAME www.example.org']);
  t.deepEqual(lines(external('192.0.2.1')), []);
});

const headless = (spec = {}) =>
  serviceOf('db/pg', 'None', { ports: [{ name: 'sql', port: 5432 }], clusterIPs: ['None'], ...spec });

test('headless: each ready endpoint under the Service, under its host name, and back', (t) => {
  const slice = sliceOf(
    'db/pg',
    [
      { ip: '10.244.1.5', hostname: 'pg-0' },
      { ip: '10.244.1.6' },
      { ip: '10.244.1.7', hostname: 'pg-2', conditions: { ready: false } },
    ],
    { ports: [{ name: 'sql', port: 5432, protocol: 'TCP' }] },
  );
  t.deepEqual(lines(headless(), [slice]), [
    '10-244-1-6.pg.db… A 10.244.1.6',
    '5.1.244.10.in-addr.arpa PTR pg-0.pg.db…',
    '6.1.244.10.in-addr.arpa PTR 10-244-1-6.pg.db…',
    '_sql._tcp.pg.db… SRV 0 50 5432 10-244-1-6.pg.db…',
    '_sql._tcp.pg.db… SRV 0 50 5432 pg-0.pg.db…',
    'pg-0.pg.db… A 10.244.1.5',
    'pg.db… A 10.244.1.5',
    'pg.db… A 10.244.1.6',
  ]);
  t.true(lines(headless({ publishNotReadyAddresses: true }), [slice]).includes('pg-2.pg.db… A 10.244.1.7'));
});

test('headless: an endpoint in two slices counts once; both families; unnamed ports and names as addresses have no records', (t) => {
  const one = sliceOf('db/pg', [{ ip: '10.244.1.5', hostname: 'x' }], { suffix: 'a', ports: [{ name: '', port: 1 }] });
  const two = sliceOf('db/pg', [{ ip: '10.244.1.5', hostname: 'x' }], { suffix: 'b', ports: [] });
  const six = sliceOf('db/pg', [{ ip: 'fd00::5', hostname: 'x' }], { suffix: 'c', addressType: 'IPv6', ports: [] });
  const named = { ...two, addressType: 'FQDN' as const, endpoints: [{ addresses: ['example.org'] }] };
  t.deepEqual(
    lines(headless(), [one, two, six, named]).filter((line) => !line.includes('arpa')),
    ['pg.db… A 10.244.1.5', 'pg.db… AAAA fd00::5', 'x.pg.db… A 10.244.1.5', 'x.pg.db… AAAA fd00::5'],
  );
  t.true(
    lines(headless(), [sliceOf('db/pg', [{ ip: 'fd00::5' }], { addressType: 'IPv6' })]).includes(
      'fd00--5.pg.db… AAAA fd00::5',
    ),
  );
});

test('headless without ready endpoints has no names', (t) => {
  t.deepEqual(lines(headless(), [sliceOf('db/pg', [{ ip: '10.244.1.5', conditions: { ready: false } }])]), []);
  t.deepEqual(lines(headless()), []);
});
