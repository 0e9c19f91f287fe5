import test from 'ava';
import { encodeAnswer } from '../../../../control-plane/dns/answer.ts';
import { createResolver } from '../../../../control-plane/dns/resolver.ts';
import { computeServiceRecords } from '../../../../control-plane/dns/service-records.ts';
import { TYPE } from '../../../../control-plane/dns/wire.ts';
import { createZone } from '../../../../control-plane/dns/zone.ts';
import { apexNames, namespaceNames } from '../../../../control-plane/dns/zone-names.ts';
import { decoded, outcomeOf, parsed, question } from '../../../support/dns.ts';
import { serviceOf, sliceOf } from '../../../support/proxy.ts';

const OPTIONS = { domain: 'cluster.local', ttlSeconds: 30 };
const SOA = ['cluster.local SOA'];

function world() {
  const zone = createZone('cluster.local');
  zone.set('apex', apexNames({ ...OPTIONS, serverAddress: '10.96.0.10', serverAddressType: 'A' }));
  for (const name of ['default', 'empty', 'db']) zone.set(`namespace ${name}`, namespaceNames(name, OPTIONS));
  const add = (service: ReturnType<typeof serviceOf>, slices: ReturnType<typeof sliceOf>[] = []) =>
    zone.set(`service ${service.metadata.uid}`, computeServiceRecords(service, slices, OPTIONS));
  add(serviceOf('default/web', '10.96.1.2', { ports: [{ name: 'http', port: 80 }] }));
  add(serviceOf('db/pg', 'None', { ports: [] }), [
    sliceOf(
      'db/pg',
      [
        { ip: '10.244.1.5', hostname: 'pg-0' },
        { ip: '10.244.1.6', hostname: 'pg-1' },
      ],
      {
        ports: [{ name: 'sql', port: 5432 }],
      },
    ),
  ]);
  const external = (key: string, externalName: string) => serviceOf(key, '', { type: 'ExternalName', externalName });
  add(external('default/inside', 'web.default.svc.cluster.local'));
  add(external('default/outside', 'www.example.org'));
  add(external('default/nowhere', 'nothing.default.svc.cluster.local'));
  add(external('default/round', 'about.default.svc.cluster.local'));
  add(external('default/about', 'round.default.svc.cluster.local'));
  const resolver = createResolver(zone, { ttlSeconds: 30, negativeTtlSeconds: 5, startedSeconds: 1000 });
  return {
    zone,
    add,
    resolver,
    ask(name: string, type: keyof typeof TYPE) {
      const full = name.endsWith('.') ? name.slice(0, -1) : `${name}.cluster.local`;
      const found = resolver.resolve(full.toLowerCase(), TYPE[type]);
      if (found.kind === 'elsewhere') return 'elsewhere';
      const { rcode, answers, authority } = outcomeOf(
        encodeAnswer(parsed(question(full, type as 'A')), found.body, 65_535),
      );
      const short = answers.map((line) => line.replaceAll('.cluster.local', '…'));
      return { rcode, answers: short, authority, ...(found.kind === 'alias' && { target: found.target }) };
    },
  };
}

const positive = (...answers: string[]) => ({ rcode: 'NOERROR', answers, authority: [] });
const noData = { rcode: 'NOERROR', answers: [], authority: SOA };
const noName = { rcode: 'NXDOMAIN', answers: [], authority: SOA };

const table: [string, keyof typeof TYPE, object | string][] = [
  ['web.default.svc', 'A', positive('web.default.svc… A 10.96.1.2')],
  ['WEB.Default.Svc', 'A', positive('WEB.Default.Svc… A 10.96.1.2')],
  ['web.default.svc', 'AAAA', noData],
  ['web.default.svc', 'SRV', noData],
  ['web.default.svc', 'TXT', noData],
  ['web.default.svc', 'ANY', positive('web.default.svc… A 10.96.1.2')],
  ['_http._tcp.web.default.svc', 'SRV', positive('_http._tcp.web.default.svc… SRV 0 100 80 web.default.svc…')],
  ['_http._udp.web.default.svc', 'SRV', noName],
  ['_tcp.web.default.svc', 'SRV', noData],
  ['other.web.default.svc', 'A', noName],
  ['nothing.default.svc', 'A', noName],
  ['web.nowhere.svc', 'A', noName],
  ['default.svc', 'A', noData],
  ['empty.svc', 'A', noData],
  ['nowhere.svc', 'A', noName],
  ['svc', 'A', noData],
  ['*.default.svc', 'A', noName],
  ['pg.db.svc', 'A', positive('pg.db.svc… A 10.244.1.5', 'pg.db.svc… A 10.244.1.6')],
  ['pg-1.pg.db.svc', 'A', positive('pg-1.pg.db.svc… A 10.244.1.6')],
  [
    '_sql._tcp.pg.db.svc',
    'SRV',
    positive(
      '_sql._tcp.pg.db.svc… SRV 0 50 5432 pg-0.pg.db.svc…',
      '_sql._tcp.pg.db.svc… SRV 0 50 5432 pg-1.pg.db.svc…',
    ),
  ],
  ['2.1.96.10.in-addr.arpa.', 'PTR', positive('2.1.96.10.in-addr.arpa PTR web.default.svc…')],
  ['5.1.244.10.in-addr.arpa.', 'PTR', positive('5.1.244.10.in-addr.arpa PTR pg-0.pg.db.svc…')],
  ['9.9.244.10.in-addr.arpa.', 'PTR', 'elsewhere'],
  ['www.example.org.', 'A', 'elsewhere'],
  ['.', 'NS', 'elsewhere'],
  ['inside.default.svc', 'A', positive('inside.default.svc… CNAME web.default.svc…', 'web.default.svc… A 10.96.1.2')],
  ['inside.default.svc', 'CNAME', positive('inside.default.svc… CNAME web.default.svc…')],
  ['inside.default.svc', 'AAAA', { ...noData, answers: ['inside.default.svc… CNAME web.default.svc…'] }],
  ['nowhere.default.svc', 'A', { ...noName, answers: ['nowhere.default.svc… CNAME nothing.default.svc…'] }],
  ['round.default.svc', 'A', { rcode: 'SERVFAIL', answers: [], authority: [] }],
  [
    'outside.default.svc',
    'A',
    { ...positive('outside.default.svc… CNAME www.example.org'), target: 'www.example.org' },
  ],
  ['10-244-1-5.default.pod', 'A', positive('10-244-1-5.default.pod… A 10.244.1.5')],
  ['10-244-1-5.default.pod', 'AAAA', noData],
  ['fd00--1-5.default.pod', 'AAAA', positive('fd00--1-5.default.pod… AAAA fd00::1:5')],
  ['10-244-1-5.nowhere.pod', 'A', noName],
  ['10-244-1-500.default.pod', 'A', noName],
  ['a.10-244-1-5.default.pod', 'A', noName],
  ['default.pod', 'A', noData],
  ['dns-version', 'TXT', positive('dns-version… TXT 1.1.0')],
  ['ns.dns', 'A', positive('ns.dns… A 10.96.0.10')],
  ['cluster.local.', 'NS', positive('cluster.local NS ns.dns…')],
  ['cluster.local.', 'A', noData],
];

for (const [name, type, expected] of table) {
  test(`${name} ${type}`, (t) => {
    t.deepEqual<unknown, unknown>(world().ask(name, type), expected);
  });
}

test('the SOA says how long a name is not there, and its serial grows', (t) => {
  const { resolver, add } = world();
  const soa = () => {
    const found = resolver.resolve('cluster.local', TYPE.SOA);
    if (found.kind !== 'answer') throw new Error(found.kind);
    return decoded(encodeAnswer(parsed(question('cluster.local', 'SOA')), found.body, 512)).answers?.[0] as {
      ttl: number;
      data: { serial: number; minimum: number; mname: string };
    };
  };
  const before = soa();
  t.is(before.ttl, 5);
  t.is(before.data.minimum, 5);
  t.is(before.data.mname, 'ns.dns.cluster.local');
  add(serviceOf('default/new', '10.96.7.7'));
  t.true(soa().data.serial > before.data.serial);
});

test('a name that is made, changed and removed is answered so at once', (t) => {
  const { ask, add, zone } = world();
  t.deepEqual<unknown, unknown>(ask('new.default.svc', 'A'), noName);
  add(serviceOf('default/new', '10.96.7.7'));
  t.deepEqual<unknown, unknown>(ask('new.default.svc', 'A'), positive('new.default.svc… A 10.96.7.7'));
  add(serviceOf('default/new', '10.96.7.8'));
  t.deepEqual<unknown, unknown>(ask('new.default.svc', 'A'), positive('new.default.svc… A 10.96.7.8'));
  zone.set('service default/new', []);
  t.deepEqual<unknown, unknown>(ask('new.default.svc', 'A'), noName);
});

test('SRV brings the addresses of its targets along', (t) => {
  const found = world().resolver.resolve('_sql._tcp.pg.db.svc.cluster.local', TYPE.SRV);
  if (found.kind !== 'answer') throw new Error(found.kind);
  const query = parsed(question('_sql._tcp.pg.db.svc.cluster.local', 'SRV'));
  const packet = decoded(encodeAnswer(query, found.body, 512));
  t.deepEqual(
    packet.additionals?.map((record) => `${record.name} ${'data' in record ? record.data : ''}`),
    ['pg-0.pg.db.svc.cluster.local 10.244.1.5', 'pg-1.pg.db.svc.cluster.local 10.244.1.6'],
  );
});
