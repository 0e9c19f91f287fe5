/** The certificates of a node through days of their life: an API server that signs, denies, sleeps or is gone, and addresses that change. Time is a fake clock's. */
import { X509Certificate } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { kubeletConfiguration } from '../../../agent/config/kubelet-configuration.ts';
import type { AgentPartOptions } from '../../../cli/roots/agent-part-options.ts';
import { createCertificatesPart } from '../../../cli/roots/certificates-part.ts';
import { settleConfig } from '../../../cli/roots/settled-config.ts';
import { createCertificateAuthority, issueCertificate, signCertificateRequest } from '../../../src/auth/authority.ts';
import { summarizeCertificate } from '../../../src/auth/certificate.ts';
import { parseCertificateRequest } from '../../../src/auth/certificate-request.ts';
import { loadConfig } from '../../../src/config/load.ts';
import type { KubeClient } from '../../../src/kube/client.ts';
import type { CertificateSigningRequest } from '../../../src/kube/schema/generated/types/certificates-v1.ts';
import type { NodeAddress } from '../../../src/kube/schema/generated/types/core-v1.ts';
import { silentLogger } from '../../../src/runtime/log.ts';
import { Registry } from '../../../src/runtime/metrics.ts';
import { runTogether } from '../../../src/runtime/run-together.ts';
import { createFakeClock } from '../../fakes/clock.ts';
import { eventually } from '../../support/eventually.ts';

const SECOND_MS = 1000;
const MINUTE_MS = 60 * SECOND_MS;
const HOUR_MS = 60 * MINUTE_MS;
const START_MS = Date.UTC(2026, 0, 1);
const authority = await createCertificateAuthority({ commonName: 'ca', days: 3650, nowMs: START_MS - HOUR_MS });

type Mood = 'signs' | 'denies' | 'sleeps' | 'gone';

async function scene(t: ExecutionContext, lifeSeconds = 3600, rotates: 'both' | 'serving' = 'both') {
  const clock = createFakeClock(START_MS);
  const certDir = mkdtempSync(join(tmpdir(), 'berth-certificates-'));
  t.teardown(() => rmSync(certDir, { recursive: true }));
  const server = { mood: 'signs' as Mood, asked: [] as { atMs: number; request: CertificateSigningRequest }[] };
  const answer = () => {
    if (server.mood === 'gone') throw new Error('connect ECONNREFUSED');
  };
  const client = {
    async create(_: unknown, draft: CertificateSigningRequest) {
      answer();
      server.asked.push({ atMs: clock.nowMs(), request: draft });
      return { ...draft, metadata: { name: String(server.asked.length - 1) } };
    },
    async get(_: unknown, { name }: { name: string }) {
      answer();
      const { request } = server.asked[Number(name)]!;
      if (server.mood === 'sleeps') return { ...request, metadata: { name } };
      if (server.mood === 'denies')
        return { ...request, metadata: { name }, status: { conditions: [{ type: 'Denied', reason: 'No' }] } };
      const parsed = await parseCertificateRequest(Buffer.from(request.spec.request, 'base64').toString());
      const usages = request.spec.usages as ('client auth' | 'server auth')[];
      const pem = await signCertificateRequest(authority, parsed, {
        usages,
        seconds: lifeSeconds,
        nowMs: clock.nowMs(),
      });
      return { ...request, metadata: { name }, status: { certificate: Buffer.from(pem).toString('base64') } };
    },
  } as unknown as KubeClient;
  const issue = (usage: 'client' | 'server') =>
    issueCertificate(authority, {
      commonName: 'system:node:n',
      organizations: ['system:nodes'],
      dnsNames: ['n'],
      ipAddresses: ['192.0.2.1'],
      usages: [usage],
      days: lifeSeconds / 86_400,
      nowMs: START_MS,
    });
  const rotatingClient = await issue('client');
  const rotatingServing = await issue('server');
  const metrics = new Registry();
  const served: string[] = [];
  let addresses: NodeAddress[] | undefined;
  const listeners: (() => void)[] = [];
  const parts = createCertificatesPart(
    {
      config: settleConfig(
        loadConfig(kubeletConfiguration, {
          flags: [
            { flag: '--serving', field: 'serverTLSBootstrap', value: true },
            { flag: '--client', field: 'rotateCertificates', value: rotates === 'both' },
          ],
        }),
        { tlsCertFile: '/nowhere/a', tlsPrivateKeyFile: '/nowhere/b', clientCAFile: '' },
      ),
      client,
      nodeName: 'n',
      nodeIps: ['192.0.2.1'],
      certDir,
      clientCertPem: rotatingClient.certPem,
      clientCaPem: authority.certPem,
      serving: rotatingServing,
      rotatingClient,
      rotatingServing,
      metrics,
    } as unknown as AgentPartOptions,
    {
      server: { useCertificate: ({ certPem }) => void served.push(certPem), useClientCa() {} },
      addresses: { list: () => addresses, onChange: (listener) => void listeners.push(listener) },
    },
    { clock, log: silentLogger },
  );
  const stop = new AbortController();
  const running = runTogether(parts, stop.signal);
  t.teardown(async () => {
    stop.abort();
    await running;
  });
  /** Keys are made and certificates signed in real time, of which a fake clock knows nothing: meanwhile a part has no timer. */
  const timers = rotates === 'both' ? 3 : 2;
  const settle = () => eventually('all parts wait for something', () => clock.pending() >= timers);
  const clientPem = () => {
    try {
      return readFileSync(join(certDir, 'kubelet-client-current.pem'), 'utf8');
    } catch {
      return rotatingClient.certPem;
    }
  };
  const validToMs = (pem: string) => new X509Certificate(pem).validToDate.getTime();
  return {
    clock,
    server,
    served,
    isClientValid: () => validToMs(clientPem()) > clock.nowMs(),
    isServingValid: () => validToMs(served.at(-1) ?? rotatingServing.certPem) > clock.nowMs(),
    async pass(ms: number, stepMs: number, each: () => void = () => {}) {
      for (let passed = 0; passed < ms; passed += stepMs) {
        await clock.advance(stepMs);
        await settle();
        each();
      }
    },
    /** Time goes on in small steps until it is so. */
    async passUntil(what: string, isSo: () => boolean, stepMs = SECOND_MS) {
      for (let step = 0; step < 5000; step++) {
        if (isSo()) return;
        await clock.advance(stepMs);
        await settle();
      }
      t.fail(`not reached: ${what}`);
    },
    move(to: NodeAddress[]) {
      addresses = to;
      for (const listener of listeners) listener();
    },
    async counted(name: string): Promise<number> {
      const metric = await metrics.getSingleMetric(name)?.get();
      return metric?.values.reduce((sum, { value }) => sum + value, 0) ?? 0;
    },
    of: (kind: 'client-kubelet' | 'serving') =>
      server.asked.filter(({ request }) => request.spec.signerName?.endsWith(kind)),
  };
}

test('a day with certificates of four hours: always valid, asked for once in four hours or so, and an outage of the API server of twenty minutes is slept through', async (t) => {
  const { pass, server, of, clock, isClientValid, isServingValid } = await scene(t, 4 * 3600);
  const gaps: string[] = [];
  await pass(24 * HOUR_MS, 5 * MINUTE_MS, () => {
    const hour = (clock.nowMs() - START_MS) / HOUR_MS;
    server.mood = hour > 5 && hour < 5 + 1 / 3 ? 'gone' : 'signs';
    if (!isClientValid()) gaps.push(`client at ${hour}`);
    if (!isServingValid()) gaps.push(`serving at ${hour}`);
  });
  t.deepEqual(gaps, []);
  for (const kind of ['client-kubelet', 'serving'] as const) {
    const { length } = of(kind);
    t.true(length >= 6 && length <= 10, `${length} requests for ${kind} certificates in 24 hours`);
  }
});

test('denied, it asks again with a growing pause, each time counted, until it is allowed', async (t) => {
  const { pass, passUntil, server, of, counted, isClientValid } = await scene(t);
  server.mood = 'denies';
  await pass(40 * MINUTE_MS, 5 * MINUTE_MS);
  await passUntil('the first refusals', () => of('client-kubelet').length >= 5);
  const times = of('client-kubelet').map(({ atMs }) => atMs);
  const pauses = times.slice(1).map((atMs, index) => atMs - times[index]!);
  t.true(pauses[0]! >= 1.5 * SECOND_MS, String(pauses));
  for (const [index, pause] of pauses.slice(1).entries()) t.true(pause > pauses[index]!, String(pauses));
  t.true((await counted('kubelet_certificate_manager_client_expiration_renew_errors')) >= 4);
  server.mood = 'signs';
  await passUntil('it is renewed', () => isClientValid() && of('client-kubelet').length >= 6);
});

test('approval by hand: fourteen minutes are waited for; after fifteen it asks anew', async (t) => {
  const { passUntil, pass, server, of, served } = await scene(t, 86_400, 'serving');
  server.mood = 'sleeps';
  // In small steps: a request that came in the middle of one would be as old as the rest of it.
  await passUntil('it asks', () => of('serving').length === 1, MINUTE_MS);
  await pass(13 * MINUTE_MS, 10 * SECOND_MS);
  t.is(of('serving').length, 1);
  server.mood = 'signs';
  await passUntil('what was asked for is used', () => served.length === 1);
  t.is(of('serving').length, 1);
  server.mood = 'sleeps';
  await passUntil('it asks for the next', () => of('serving').length === 2, MINUTE_MS);
  await pass(16 * MINUTE_MS, 10 * SECOND_MS);
  t.is(of('serving').length, 3, 'the request that nobody looks at is given up');
});

test('the API server is gone past the end of the certificates: tried at most every five minutes, renewed as soon as it is back', async (t) => {
  const { pass, passUntil, server, of, isClientValid, isServingValid, counted } = await scene(t);
  server.mood = 'gone';
  await pass(5 * HOUR_MS, MINUTE_MS);
  t.false(isClientValid());
  const tries = await counted('kubelet_certificate_manager_client_expiration_renew_errors');
  t.true(tries > 20 && tries < 120, `${tries} tries in some four hours`);
  server.mood = 'signs';
  await passUntil('both are good again', () => isClientValid() && isServingValid(), 5 * SECOND_MS);
  t.is(of('client-kubelet').length, 1);
});

test('the serving certificate is asked for again when the addresses of the node change, at once, and for no less', async (t) => {
  const { move, passUntil, pass, of, served } = await scene(t, 86_400);
  const internal = (address: string): NodeAddress => ({ type: 'InternalIP', address });
  await pass(MINUTE_MS, 10 * SECOND_MS);
  move([internal('192.0.2.1'), { type: 'Hostname', address: 'n' }]);
  await pass(MINUTE_MS, 10 * SECOND_MS);
  t.is(of('serving').length, 0, 'it has all of these');
  move([
    internal('192.0.2.7'),
    internal('2001:db8:0::7'),
    { type: 'ExternalDNS', address: 'n.cloud.example' },
    { type: 'Hostname', address: 'n' },
  ]);
  await passUntil('it has another', () => served.length === 1);
  t.like(summarizeCertificate(served[0]!), { dnsNames: ['n', 'n.cloud.example'] });
  t.is(summarizeCertificate(served[0]!).ipAddresses[0], '192.0.2.7');
  await pass(5 * MINUTE_MS, 10 * SECOND_MS);
  t.is(of('serving').length, 1, 'asked once');
  move([internal('192.0.2.7'), { type: 'Hostname', address: 'n' }]);
  await pass(5 * MINUTE_MS, 10 * SECOND_MS);
  t.is(of('serving').length, 1, 'one name less is no reason');
});

test('a request that nobody has approved yet is dropped when the addresses change meanwhile', async (t) => {
  const { move, passUntil, server, of, served } = await scene(t, 86_400);
  server.mood = 'sleeps';
  move([{ type: 'InternalIP', address: '192.0.2.7' }]);
  await passUntil('it asks', () => of('serving').length === 1);
  move([{ type: 'InternalIP', address: '192.0.2.8' }]);
  await passUntil('it asks for the new one', () => of('serving').length === 2);
  server.mood = 'signs';
  await passUntil('it has it', () => served.length > 0);
  t.deepEqual(summarizeCertificate(served.at(-1)!).ipAddresses, ['192.0.2.8']);
});
