/** The whole server over loopback, with a small API in memory behind it and a small name server in front of the world. */
import { execFile } from 'node:child_process';
import { createSocket, type Socket } from 'node:dgram';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import test, { type ExecutionContext } from 'ava';
import { encode } from 'dns-packet';
import { createDnsServer } from '../../../control-plane/dns/dns-server.ts';
import { endpointSlices, namespaces, services } from '../../../src/kube/resources.ts';
import { systemClock } from '../../../src/runtime/clock.ts';
import { createHeartbeats } from '../../../src/runtime/heartbeat.ts';
import { silentLogger } from '../../../src/runtime/log.ts';
import { Registry } from '../../../src/runtime/metrics.ts';
import { createFakeKubeClient } from '../../fakes/kube-client.ts';
import { answersOf, askTcp, askUdp, decoded, outcomeOf, question } from '../../support/dns.ts';
import { eventually } from '../../support/eventually.ts';
import { serviceOf, sliceOf } from '../../support/proxy.ts';

const exec = promisify(execFile);
const dig = await exec('dig', ['-v']).then(
  () => true,
  () => false,
);
const WEB = 'web.default.svc.cluster.local';

async function startServer(t: ExecutionContext, options: { port?: number; nameserver?: string } = {}) {
  const folder = mkdtempSync(join(tmpdir(), 'berth-dns-'));
  const resolvConf = join(folder, 'resolv.conf');
  writeFileSync(resolvConf, options.nameserver ? `nameserver ${options.nameserver}\n` : '');
  const client = createFakeKubeClient(systemClock);
  for (const name of ['default', 'empty']) client.seed(namespaces, { metadata: { name }, spec: {} });
  const slices = Array.from({ length: 40 }, (_, index) => ({ ip: `10.244.1.${index + 1}`, hostname: `pod-${index}` }));
  client.seed(services, serviceOf('default/web', '10.96.1.2', { ports: [{ name: 'http', port: 80 }] }));
  client.seed(services, serviceOf('default/many', 'None'));
  client.seed(endpointSlices, sliceOf('default/many', slices));
  client.seed(services, serviceOf('default/out', '', { type: 'ExternalName', externalName: 'www.example' }));
  const registry = new Registry();
  const server = createDnsServer(
    {
      clusterDomain: 'cluster.local',
      bindAddress: '127.0.0.1',
      port: options.port ?? 0,
      metricsPort: 0,
      serviceAddress: '10.96.0.10',
      clientNetworks: ['10.244.0.0/16'],
      resolvConf,
    },
    { client, clock: systemClock, log: silentLogger, metrics: registry, heartbeats: createHeartbeats(systemClock) },
  );
  const stop = new AbortController();
  const ready = Promise.withResolvers<{ dns: number; http: number }>();
  const running = server.run(stop.signal, ready.resolve);
  const close = async () => {
    stop.abort();
    await running;
    rmSync(folder, { recursive: true, force: true });
  };
  t.teardown(close);
  const { dns: port, http } = await Promise.race([
    ready.promise,
    running.then(() => Promise.reject(new Error('ended'))),
  ]);
  const metrics = async () => (await fetch(`http://127.0.0.1:${http}/metrics`)).text();
  return { client, port, http, close, metrics, resolvConf };
}

/** A name server on port 53 of a loopback address that nobody else has; `answer` gives addresses for a name, undefined is silence. */
function startNameserver(t: ExecutionContext, address: string, answer: (name: string) => string[] | undefined) {
  return new Promise<{ socket: Socket; asked: string[] }>((resolve, reject) => {
    const socket = createSocket('udp4');
    const asked: string[] = [];
    socket.on('message', (message, { port, address: peer }) => {
      const { questions, id } = decoded(message);
      const { name, type } = questions![0]!;
      asked.push(name);
      const found = answer(name);
      if (!found) return;
      const reply = encode({
        type: 'response',
        id,
        flags: found.length > 0 ? 0x180 : 0x183,
        questions: [{ name, type, class: 'IN' }],
        answers: found.map((data) => ({ name, type: 'A' as const, class: 'IN' as const, ttl: 60, data })),
      });
      socket.send(reply, port, peer);
    });
    socket.once('error', reject);
    socket.bind(53, address, () => resolve({ socket, asked }));
    t.teardown(() => socket.close());
  });
}

test('UDP and TCP answer the same, several questions over one connection', async (t) => {
  const { port } = await startServer(t);
  t.deepEqual(answersOf(await askUdp(port, question(WEB, 'A'))), [`${WEB} A 10.96.1.2`]);
  const over = await askTcp(port, [question(WEB, 'A', { id: 1 }), question(`no.${WEB}`, 'A', { id: 2 })]);
  t.deepEqual(
    over.map((answer) => decoded(answer).id),
    [1, 2],
  );
  t.deepEqual(outcomeOf(over[1]!), { rcode: 'NXDOMAIN', answers: [], authority: ['cluster.local SOA'] });
});

test('too long for UDP: as much as fits and the flag; all of it by TCP, and all of it with EDNS', async (t) => {
  const { port } = await startServer(t);
  const ask = question('many.default.svc.cluster.local', 'A');
  const cut = await askUdp(port, ask);
  t.true(cut.length <= 512 && decoded(cut).flag_tc && answersOf(cut).length > 20);
  const [whole] = await askTcp(port, [ask]);
  t.is(answersOf(whole!).length, 40);
  t.is(answersOf(await askUdp(port, question('many.default.svc.cluster.local', 'A', { udpBytes: 1232 }))).length, 40);
});

test('a new Service is answered at once, a removed one is gone', async (t) => {
  const { port, client } = await startServer(t);
  const fresh = 'fresh.default.svc.cluster.local';
  t.is(outcomeOf(await askUdp(port, question(fresh, 'A'))).rcode, 'NXDOMAIN');
  await client.create(services, serviceOf('default/fresh', '10.96.9.9'), { namespace: 'default' });
  const isAnswered = async () => String(answersOf(await askUdp(port, question(fresh, 'A')))) === `${fresh} A 10.96.9.9`;
  await eventually('it is answered', isAnswered);
  await client.delete(services, { namespace: 'default', name: 'fresh' });
  await eventually('it is gone', async () => !(await isAnswered()));
  t.is(outcomeOf(await askUdp(port, question(fresh, 'A'))).rcode, 'NXDOMAIN');
});

test('what is no query is refused or dropped, counted, and hurts nobody', async (t) => {
  const { port, metrics } = await startServer(t);
  const good = question(WEB, 'A');
  const truncated = good.subarray(0, 20);
  const update = Buffer.from(good);
  update[2] = 0x28;
  t.is(outcomeOf(await askUdp(port, truncated)).rcode, 'FORMERR');
  t.is(decoded(await askUdp(port, update)).rcode, 'NOTIMP');
  t.is(decoded(await askUdp(port, Buffer.concat([good, Buffer.alloc(5000)]))).rcode, 'FORMERR');
  const answer = await askUdp(port, good);
  await t.throwsAsync(askUdp(port, answer, { timeoutMs: 200 }), { message: 'no answer' }, 'an answer gets none');
  await t.throwsAsync(askUdp(port, Buffer.from([1, 2, 3]), { timeoutMs: 200 }), { message: 'no answer' });
  t.deepEqual(await askTcp(port, [Buffer.alloc(5000), good]), [], 'the connection is closed');
  const chaos = Buffer.from(good);
  chaos.writeUInt16BE(3, good.length - 2);
  t.is(decoded(await askUdp(port, chaos)).rcode, 'REFUSED');
  t.is(decoded(await askUdp(port, question('cluster.local', 'AXFR'))).rcode, 'REFUSED');
  t.deepEqual(answersOf(await askUdp(port, good)), [`${WEB} A 10.96.1.2`]);
  const text = await metrics();
  for (const reason of ['name', 'opcode', 'response', 'short'])
    t.regex(text, new RegExp(`berth_dns_refused_messages_total\\{reason="${reason}"\\} 1\\b`));
  t.regex(text, /berth_dns_refused_messages_total\{reason="too long"\} 2\b/);
});

test('metrics by the names that dashboards know, health and readiness', async (t) => {
  const { port, http, metrics } = await startServer(t);
  await askUdp(port, question(WEB, 'A'));
  await askTcp(port, [question(`x.${WEB}`, 'AAAA')]);
  const text = await metrics();
  t.regex(
    text,
    /^coredns_dns_requests_total\{server="dns:\/\/:53",zone="\.",view="",proto="udp",family="1",type="A"\} 1$/m,
  );
  t.regex(text, /^coredns_dns_responses_total\{.*rcode="NXDOMAIN",plugin="kubernetes"\} 1$/m);
  t.regex(text, /^coredns_dns_request_duration_seconds_count\{.*\} 2$/m);
  t.regex(text, /^berth_dns_names [1-9]\d*$/m);
  for (const path of ['health', 'healthz', 'ready'])
    t.is((await fetch(`http://127.0.0.1:${http}/${path}`)).status, 200);
  t.is((await fetch(`http://127.0.0.1:${http}/else`)).status, 404);
  t.is((await fetch(`http://127.0.0.1:${http}/metrics`, { method: 'POST' })).status, 405);
});

test('a second server takes over on the same port: no query is lost', async (t) => {
  const first = await startServer(t);
  const asking = { stop: false, asked: 0, lost: 0 };
  const ask = async () => {
    while (!asking.stop) {
      asking.asked++;
      await askUdp(first.port, question(WEB, 'A')).catch(() => asking.lost++);
    }
  };
  const clients = Promise.all([ask(), ask(), ask(), ask()]);
  await eventually('the first is asked', () => asking.asked > 20);
  const second = await startServer(t, { port: first.port });
  await first.close();
  const before = asking.asked;
  await eventually('the second is asked', () => asking.asked > before + 20);
  asking.stop = true;
  await clients;
  t.is(asking.lost, 0);
  t.is(second.port, first.port);
});

const hostOnly = process.getuid?.() === 0 ? test : test.skip;

hostOnly(
  'other names come from the host’s servers: answers, aliases, nothing there, and a file that changes',
  async (t) => {
    const one = await startNameserver(t, '127.0.53.1', (name) =>
      name.toLowerCase() === 'www.example' ? ['192.0.2.1'] : [],
    );
    const two = await startNameserver(t, '127.0.53.2', () => ['192.0.2.2']);
    const { port, resolvConf, metrics } = await startServer(t, { nameserver: '127.0.53.1' });
    t.deepEqual(answersOf(await askUdp(port, question('WWW.example', 'A'))), ['WWW.example A 192.0.2.1']);
    t.deepEqual(answersOf(await askUdp(port, question('www.EXAMPLE', 'A'))), ['WWW.example A 192.0.2.1']);
    t.is(one.asked.filter((name) => name.toLowerCase() === 'www.example').length, 1, 'the second came from the cache');
    t.is(outcomeOf(await askUdp(port, question('no.example', 'A'))).rcode, 'NXDOMAIN');
    const out = 'out.default.svc.cluster.local';
    t.deepEqual(answersOf(await askUdp(port, question(out, 'A'))), [
      `${out} CNAME www.example`,
      'www.example A 192.0.2.1',
    ]);
    t.is(outcomeOf(await askUdp(port, question('9.9.244.10.in-addr.arpa', 'PTR'))).rcode, 'NXDOMAIN', 'asked upstream');
    t.true(one.asked.includes('9.9.244.10.in-addr.arpa'));
    writeFileSync(resolvConf, 'nameserver 127.0.53.2\n');
    // Of names that nobody has asked for: what the first server answers is kept.
    let names = 0;
    await eventually('the other server is asked', async () => {
      await askUdp(port, question(`n${names++}.example`, 'A'));
      return two.asked.length > 0;
    });
    t.deepEqual(answersOf(await askUdp(port, question('other.example', 'A'))), ['other.example A 192.0.2.2']);
    t.regex(
      await metrics(),
      /coredns_proxy_request_duration_seconds_count\{proxy_name="forward",to="127\.0\.53\.1:53",rcode="NOERROR"\}/,
    );
  },
);

hostOnly('a name server that asks us in turn is found out', async (t) => {
  const target: { port?: number } = {};
  const socket = createSocket('udp4');
  t.teardown(() => socket.close());
  socket.on('message', async (message, peer) => {
    while (target.port === undefined) await sleep(10);
    socket.send(await askUdp(target.port, message), peer.port, peer.address);
  });
  await new Promise<void>((resolve) => socket.bind(53, '127.0.53.3', () => resolve()));
  const { port, metrics } = await startServer(t, { nameserver: '127.0.53.3' });
  target.port = port;
  await eventually('it is told', async () => /^berth_dns_forward_loop 1$/m.test(await metrics()));
  t.is(outcomeOf(await askUdp(port, question('www.example', 'A'))).rcode, 'SERVFAIL');
});

hostOnly('a server that is silent: SERVFAIL after two tries, within the time that clients wait', async (t) => {
  await startNameserver(t, '127.0.53.4', () => undefined);
  const { port } = await startServer(t, { nameserver: '127.0.53.4' });
  const startedMs = performance.now();
  t.is(outcomeOf(await askUdp(port, question('www.example', 'A'))).rcode, 'SERVFAIL');
  t.true(performance.now() - startedMs > 3900);
});

(dig ? test : test.skip)(`dig agrees${dig ? '' : ' (skipped: there is no dig, package bind9-dnsutils)'}`, async (t) => {
  const { port } = await startServer(t);
  const ask = async (...args: string[]) =>
    (await exec('dig', ['@127.0.0.1', '-p', String(port), '+tries=1', ...args])).stdout;
  t.is((await ask('+short', WEB)).trim(), '10.96.1.2');
  t.is((await ask('+short', '-x', '10.96.1.2')).trim(), `${WEB}.`);
  t.is((await ask('+short', 'SRV', `_http._tcp.${WEB}`)).trim(), `0 100 80 ${WEB}.`);
  t.is((await ask('+short', '+tcp', 'many.default.svc.cluster.local')).trim().split('\n').length, 40);
  const unknown = await ask(`nothing.${WEB}`);
  t.regex(unknown, /status: NXDOMAIN/);
  t.regex(unknown, /flags: qr aa rd ra;/);
  t.regex(unknown, /EDNS: version: 0, flags:; udp: 1232/);
  t.regex(unknown, /cluster\.local\.\s+5\s+IN\s+SOA\s+ns\.dns\.cluster\.local\. hostmaster\.cluster\.local\./);
  t.notRegex(unknown, /malformed|mismatch|extra bytes/i);
  t.regex(await ask('+edns=1', '+noednsneg', WEB), /status: BADVERS/);
});
