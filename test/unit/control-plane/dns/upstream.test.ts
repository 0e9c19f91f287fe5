import test from 'ava';
import { encode } from 'dns-packet';
import { CACHE_DEFAULTS, createAnswerCache } from '../../../../control-plane/dns/upstream/cache.ts';
import { followAlias } from '../../../../control-plane/dns/upstream/follow.ts';
import {
  createForwarder,
  type ForwarderObserver,
  truncateAnswer,
} from '../../../../control-plane/dns/upstream/forwarder.ts';
import { parseNameservers } from '../../../../control-plane/dns/upstream/host-resolvers.ts';
import { createLoopGuard } from '../../../../control-plane/dns/upstream/loop-guard.ts';
import { inspectResponse } from '../../../../control-plane/dns/upstream/response.ts';
import { TYPE } from '../../../../control-plane/dns/wire.ts';
import { silentLogger } from '../../../../src/runtime/log.ts';
import { createFakeClock } from '../../../fakes/clock.ts';
import { answersOf, decoded, parsed, question } from '../../../support/dns.ts';

const RCODES = { NOERROR: 0, SERVFAIL: 2, NXDOMAIN: 3, REFUSED: 5 };

/** A server's answer to the query `id`. */
function response(
  name: string,
  parts: { ttl?: number; data?: string[]; rcode?: keyof typeof RCODES; soa?: { ttl: number; minimum: number } } = {},
  id = 4711,
): Buffer {
  const { ttl = 300, data = ['192.0.2.1'], rcode = 'NOERROR', soa } = parts;
  return Buffer.from(
    encode({
      type: 'response',
      id,
      flags: 0x180 | RCODES[rcode],
      questions: [{ name, type: 'A', class: 'IN' }],
      answers: data.map((address) => ({ name, type: 'A' as const, class: 'IN' as const, ttl, data: address })),
      authorities: soa
        ? [
            {
              name: 'example',
              type: 'SOA',
              class: 'IN',
              ttl: soa.ttl,
              data: { mname: 'a', rname: 'b', minimum: soa.minimum },
            },
          ]
        : [],
    }),
  );
}

test('nameserver lines of a resolv.conf', (t) => {
  const text =
    '# nameserver 9.9.9.9\nsearch a b\nnameserver 192.0.2.1\n nameserver\tfe80::1%eth0\nnameserver nonsense\nnameserver 192.0.2.1\noptions ndots:1\nnameserver 192.0.2.2 # two\nnameserver 192.0.2.4';
  t.deepEqual(parseNameservers(text), [
    { address: '192.0.2.1', port: 53 },
    { address: 'fe80::1%eth0', port: 53 },
    { address: '192.0.2.2', port: 53 },
  ]);
  t.deepEqual(parseNameservers(''), []);
});

test('what a cache must know of an answer', (t) => {
  t.like(inspectResponse(response('a.example', { ttl: 77, data: ['192.0.2.1', '192.0.2.2'] })), {
    rcode: 0,
    answers: 2,
    ttlSeconds: 77,
  });
  t.like(inspectResponse(response('a.example', { data: [], rcode: 'NXDOMAIN', soa: { ttl: 900, minimum: 60 } })), {
    rcode: 3,
    answers: 0,
    ttlSeconds: 60,
  });
  t.is(inspectResponse(response('a.example', { data: [] }))?.ttlSeconds, undefined);
  const whole = response('a.example', { soa: { ttl: 1, minimum: 1 } });
  for (let length = 0; length < whole.length; length++) t.is(inspectResponse(whole.subarray(0, length)), undefined);
});

test('the cache counts TTLs down, and bounds how long it keeps', async (t) => {
  const clock = createFakeClock();
  const cache = createAnswerCache(CACHE_DEFAULTS, clock);
  cache.put('long', response('a.example', { ttl: 86_400 }));
  cache.put('short', response('a.example', { ttl: 0 }));
  cache.put('none', response('a.example', { data: [], rcode: 'NXDOMAIN', soa: { ttl: 900, minimum: 600 } }));
  cache.put('failed', response('a.example', { data: [], rcode: 'SERVFAIL' }));
  cache.put('refused', response('a.example', { data: [], rcode: 'REFUSED' }));
  cache.put('no SOA', response('a.example', { data: [] }));
  const ttl = (key: string) => decoded(cache.get(key)!.message).answers?.map((answer) => 'ttl' in answer && answer.ttl);
  t.is(cache.size(), 4);
  t.deepEqual(ttl('long'), [30]);
  t.true(cache.get('none')!.isDenial);
  await clock.advance(4900);
  t.deepEqual(ttl('long'), [26]);
  t.deepEqual(ttl('short'), [1]);
  await clock.advance(200);
  t.is(cache.get('short'), undefined);
  t.is(cache.get('failed'), undefined);
  await clock.advance(25_000);
  t.is(cache.get('long'), undefined);
  t.is(cache.get('none'), undefined);
});

test('a full cache forgets the oldest; a truncated answer is not kept', (t) => {
  const cache = createAnswerCache({ ...CACHE_DEFAULTS, maxEntries: 2 }, createFakeClock());
  for (const key of ['a', 'b', 'c']) cache.put(key, response('a.example'));
  t.is(cache.get('a'), undefined);
  t.truthy(cache.get('c'));
  cache.put('tc', truncateAnswer(response('a.example'), parsed(question('a.example', 'A')).questionEnd));
  t.is(cache.get('tc'), undefined);
});

type Reply = (request: Buffer, address: string, transport: string) => Buffer | Error | Promise<Buffer>;

function world(reply: Reply, addresses = ['192.0.2.1', '192.0.2.2'], maxConcurrent = 10) {
  const clock = createFakeClock();
  const asked: string[] = [];
  const told: string[] = [];
  const observer: ForwarderObserver = {
    cacheHit: (isDenial) => told.push(isDenial ? 'denial' : 'hit'),
    cacheMiss: () => told.push('miss'),
    exchanged: ({ address }, rcode) => told.push(`${address} ${rcode}`),
    rejected: () => told.push('rejected'),
  };
  const servers = addresses.map((address) => ({ address, port: 53 }));
  const forwarder = createForwarder(
    { maxConcurrent, timeoutMs: 2000, cache: CACHE_DEFAULTS },
    {
      servers: () => servers,
      observer,
      clock,
      log: silentLogger,
      async exchange(server, request, _end, { transport }) {
        asked.push(`${server.address} ${transport}`);
        const answer = await reply(request, server.address, transport);
        if (answer instanceof Error) throw answer;
        return answer;
      },
    },
  );
  return { clock, asked, told, forwarder, servers };
}

const ask = (name: string, options = {}) => parsed(question(name, 'A', options));
const answered = async (forwarder: ReturnType<typeof world>['forwarder'], name: string) => {
  const result = await forwarder.forward(ask(name), 'udp');
  return 'answer' in result ? answersOf(result.answer) : result.rcode;
};
const good: Reply = (request) => response(decoded(request).questions![0]!.name, {}, request.readUInt16BE(0));

test('an answer goes back under the id and in the letters of each client, also from the cache', async (t) => {
  const { forwarder, asked, told } = world(good);
  const one = await forwarder.forward(ask('WWW.example', { id: 1 }), 'udp');
  t.true('answer' in one && one.answer.readUInt16BE(0) === 1);
  const cached = forwarder.cached(ask('www.EXAMPLE', { id: 2 }))!;
  t.is(cached.readUInt16BE(0), 2);
  t.is(decoded(cached).questions![0]!.name, 'www.EXAMPLE');
  t.deepEqual(asked, ['192.0.2.1 udp']);
  t.deepEqual(told, ['miss', '192.0.2.1 NOERROR', 'hit']);
  t.is(forwarder.cached(ask('www.example', { udpBytes: 1232 })), undefined, 'EDNS answers are others');
});

test('our own ids and EDNS go out, never the client’s', async (t) => {
  const requests: Buffer[] = [];
  const { forwarder } = world((request, ...rest) => {
    requests.push(request);
    return good(request, ...rest);
  });
  for (let round = 0; round < 20; round++)
    await forwarder.forward(ask(`a${round}.example`, { id: 7, udpBytes: 4096 }), 'udp');
  t.true(new Set(requests.map((request) => request.readUInt16BE(0))).size > 10);
  t.like(decoded(requests[0]!).additionals?.[0], { type: 'OPT', udpPayloadSize: 1232 });
});

test('a server that does not answer: the next one, and for a while that one first', async (t) => {
  const { forwarder, asked, clock } = world((request, address, transport) =>
    address === '192.0.2.1' ? new Error('no answer') : (good(request, address, transport) as Buffer),
  );
  t.deepEqual(await answered(forwarder, 'a.example'), ['a.example A 192.0.2.1']);
  await answered(forwarder, 'b.example');
  t.deepEqual(asked.splice(0), ['192.0.2.1 udp', '192.0.2.2 udp', '192.0.2.2 udp']);
  await clock.advance(5001);
  await answered(forwarder, 'c.example');
  t.is(asked[0], '192.0.2.1 udp');
});

test('a failure is not the last word while there is another server; nobody answers: SERVFAIL after two tries', async (t) => {
  const failing = world((request, address) =>
    response('a.example', address === '192.0.2.1' ? { rcode: 'SERVFAIL', data: [] } : {}, request.readUInt16BE(0)),
  );
  t.deepEqual(await answered(failing.forwarder, 'a.example'), ['a.example A 192.0.2.1']);
  const dead = world(() => new Error('no answer'), ['192.0.2.9']);
  t.is(await answered(dead.forwarder, 'a.example'), 2);
  t.deepEqual(dead.asked, ['192.0.2.9 udp', '192.0.2.9 udp']);
  t.is(await answered(world(good, []).forwarder, 'a.example'), 2, 'without any server');
});

test('the same question at the same time is asked once; too many at a time are refused', async (t) => {
  const gate = Promise.withResolvers<void>();
  const { forwarder, asked, told } = world(
    async (request, ...rest) => {
      await gate.promise;
      return good(request, ...rest) as Buffer;
    },
    ['192.0.2.1'],
    2,
  );
  const all = ['a.example', 'a.example', 'b.example', 'c.example'].map((name) => answered(forwarder, name));
  t.is(await all[3], 5);
  gate.resolve();
  t.deepEqual(await Promise.all(all.slice(0, 3)), [
    ['a.example A 192.0.2.1'],
    ['a.example A 192.0.2.1'],
    ['b.example A 192.0.2.1'],
  ]);
  t.is(asked.length, 2);
  t.true(told.includes('rejected'));
});

test('a loop: our own question comes in, and nothing is forwarded until the servers change', async (t) => {
  const state: { guard?: ReturnType<typeof createLoopGuard> } = {};
  let loops = true;
  const { forwarder } = world((request, ...rest) => {
    const { name, type } = parsed(request);
    if (loops) state.guard!.isProbe(name, type);
    return good(request, ...rest);
  });
  const guard = createLoopGuard({ forwarder, log: silentLogger });
  state.guard = guard;
  await guard.probe();
  t.true(guard.found());
  t.is(await answered(forwarder, 'a.example'), 2);
  t.false(guard.isProbe('a.example', TYPE.HINFO));
  loops = false;
  await guard.probe();
  t.false(guard.found());
  t.deepEqual(await answered(forwarder, 'a.example'), ['a.example A 192.0.2.1']);
});

const alias = { rcode: 0, authoritative: true, answers: [Buffer.from([1])], authority: [], additional: [] };

test('behind an alias comes what its target has; alone it stays when nobody can say', async (t) => {
  const followed = await followAlias(world(good).forwarder, alias, 'www.example', TYPE.A);
  t.is(followed.answers.length, 2);
  t.false(followed.authoritative);
  const none = (request: Buffer) => response('www.example', { rcode: 'NXDOMAIN', data: [] }, request.readUInt16BE(0));
  t.like(await followAlias(world(none).forwarder, alias, 'www.example', TYPE.A), { rcode: 3 });
  t.is(await followAlias(world(() => new Error('dead')).forwarder, alias, 'www.example', TYPE.A), alias);
  const short = world((request, address, transport) =>
    transport === 'udp'
      ? truncateAnswer(good(request, address, transport) as Buffer, request.length - 11)
      : good(request, address, transport),
  );
  t.is((await followAlias(short.forwarder, alias, 'www.example', TYPE.A)).answers.length, 2);
  t.deepEqual(short.asked, ['192.0.2.1 udp', '192.0.2.1 tcp']);
});
