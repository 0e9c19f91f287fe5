import test from 'ava';
import { createZone } from '../../../../control-plane/dns/zone.ts';

const record = (data: string) => ({ type: 'A' as const, data, ttlSeconds: 30 });
const NAME = 'web.default.svc.cluster.local';

test('names above a name exist without records, and go with it', (t) => {
  const zone = createZone('cluster.local');
  zone.set('one', [{ name: `_http._tcp.${NAME}`, records: [record('10.0.0.1')] }]);
  t.deepEqual(zone.find(`_tcp.${NAME}`), { records: [] });
  t.deepEqual(zone.find('svc.cluster.local'), { records: [] });
  t.is(zone.find('tcp.cluster.local'), undefined);
  zone.set('one', []);
  t.is(zone.find(`_tcp.${NAME}`), undefined);
  t.is(zone.find('svc.cluster.local'), undefined);
  t.is(zone.size(), 0);
});

test('a name of two owners has both records, and keeps the other when one goes', (t) => {
  const zone = createZone('cluster.local');
  zone.set('one', [{ name: '1.0.0.10.in-addr.arpa', records: [record('1.1.1.1')] }]);
  zone.set('two', [{ name: '1.0.0.10.in-addr.arpa', records: [record('2.2.2.2')] }]);
  t.is(zone.find('1.0.0.10.in-addr.arpa')?.records.length, 2);
  zone.set('one', []);
  t.deepEqual(zone.find('1.0.0.10.in-addr.arpa')?.records, [record('2.2.2.2')]);
  t.is(zone.find('0.0.10.in-addr.arpa'), undefined, 'what is around an address belongs to others');
});

test('a change touches the names that changed, no others', (t) => {
  const zone = createZone('cluster.local');
  const other = { name: `b.${NAME}`, records: [record('10.0.0.2')] };
  zone.set('one', [{ name: `a.${NAME}`, records: [record('10.0.0.1')] }, other]);
  const [a, b, version] = [zone.find(`a.${NAME}`), zone.find(`b.${NAME}`), zone.version()];
  zone.set('one', [
    { name: `a.${NAME}`, records: [record('10.0.0.9')] },
    { ...other, records: [record('10.0.0.2')] },
  ]);
  t.not(zone.find(`a.${NAME}`), a);
  t.is(zone.find(`b.${NAME}`), b);
  t.is(zone.version(), version + 1);
  zone.set('one', [{ name: `a.${NAME}`, records: [record('10.0.0.9')] }, other]);
  t.is(zone.version(), version + 1, 'the same again is no change');
});

test('what belongs to the zone', (t) => {
  const zone = createZone('cluster.local');
  t.true(zone.contains('cluster.local'));
  t.true(zone.contains('x.cluster.local'));
  t.false(zone.contains('mycluster.local'));
  t.false(zone.contains('local'));
});

test('a change among 20,000 names is as fast as among ten', (t) => {
  const zone = createZone('cluster.local');
  const names = (index: number, data: string) => [
    { name: `s${index}.default.svc.cluster.local`, records: [record(data)] },
    { name: `_http._tcp.s${index}.default.svc.cluster.local`, records: [record(data)] },
  ];
  for (let index = 0; index < 5000; index++) zone.set(`${index}`, names(index, '10.0.0.1'));
  const before = process.threadCpuUsage();
  for (let round = 0; round < 1000; round++) zone.set('77', names(77, `10.0.${round >> 8}.${round & 255}`));
  // Of this thread alone: others may have the processor meanwhile.
  t.true(process.threadCpuUsage(before).user < 500_000, 'half a millisecond each is far too much');
});
