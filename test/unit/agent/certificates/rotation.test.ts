import { mkdtempSync, readdirSync, readlinkSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { createCertificateFiles } from '../../../../agent/certificates/certificate-files.ts';
import { createRotation, renewalMs } from '../../../../agent/certificates/rotation.ts';
import { type CertificatePair, createCertificateAuthority, issueCertificate } from '../../../../src/auth/authority.ts';
import { silentLogger } from '../../../../src/runtime/log.ts';
import { createFakeClock } from '../../../fakes/clock.ts';
import { eventually } from '../../../support/eventually.ts';

const DAY_MS = 86_400_000;
const START_MS = Date.UTC(2026, 0, 1);
const authority = await createCertificateAuthority({ commonName: 'ca', days: 3650, nowMs: START_MS });
const issue = (days: number, nowMs: number): Promise<CertificatePair> =>
  issueCertificate(authority, { commonName: 'system:node:n', usages: ['client'], days, nowMs });

test('a certificate is renewed between 70 and 90 % of its life', async (t) => {
  const { certPem } = await issue(100, START_MS);
  const day = (chance: number) => Math.round((renewalMs(certPem, chance) - START_MS) / DAY_MS);
  t.deepEqual([day(0), day(0.5), day(1)], [70, 80, 90]);
});

/** Issues certificates of so many days; `idle` waits for what is under way, which no fake clock knows of. */
function issuer(days: number, clock: { nowMs(): number }) {
  let underWay = 0;
  return {
    async request(): Promise<CertificatePair> {
      underWay++;
      return issue(days, clock.nowMs()).finally(() => underWay--);
    },
    async idle() {
      await eventually('nothing is being issued', () => underWay === 0);
      await new Promise((resolve) => setImmediate(resolve));
    },
  };
}

test('years of certificate life in a fake clock: each is renewed once, in time, also when the clock jumps or nobody answers for a while', async (t) => {
  const clock = createFakeClock(START_MS);
  const issuing = issuer(100, clock);
  const stop = new AbortController();
  const used: number[] = [];
  let failures = 0;
  let refuse = false;
  const rotation = createRotation(
    { kind: 'client', current: await issue(100, START_MS) },
    {
      async request() {
        if (refuse) throw new Error('no API server');
        return issuing.request();
      },
      async use() {
        used.push((clock.nowMs() - START_MS) / DAY_MS);
      },
      onFailure: () => failures++,
      clock,
      log: silentLogger,
      random: () => 0.5,
    },
  );
  const running = rotation.run(stop.signal);
  const pass = async (days: number) => {
    for (let hours = 0; hours < days * 24; hours += 24) {
      await clock.advance(DAY_MS);
      await issuing.idle();
    }
  };
  await pass(79);
  t.deepEqual(used, []);
  await pass(2);
  t.is(used.length, 1);
  t.true(used[0]! >= 79.9 && used[0]! <= 81, String(used[0]));
  // The host sleeps for most of the next one's life.
  clock.step(78 * DAY_MS);
  await pass(3);
  t.is(used.length, 2);
  refuse = true;
  await pass(81);
  t.is(used.length, 2);
  t.true(failures > 3);
  refuse = false;
  await pass(1);
  t.is(used.length, 3);
  stop.abort();
  await running;
});

test('a node without a certificate asks at once', async (t) => {
  const clock = createFakeClock(START_MS);
  const stop = new AbortController();
  const used: CertificatePair[] = [];
  const running = createRotation(
    { kind: 'serving', current: undefined },
    {
      request: () => issue(1, clock.nowMs()),
      use: async (pair) => void used.push(pair),
      clock,
      log: silentLogger,
    },
  ).run(stop.signal);
  await eventually('it has asked', () => used.length === 1);
  stop.abort();
  await running;
  t.is(used.length, 1);
});

test('pairs on disk: a file each, readable by nobody else, a link to the newest, nothing older', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'berth-pki-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const directory = join(folder, 'pki');
  const files = createCertificateFiles(directory, 'kubelet-client');
  t.is(await files.current(), undefined);
  const [first, second] = [await issue(1, START_MS), await issue(1, START_MS)];
  await files.save(first, START_MS);
  t.deepEqual(await files.current(), first);
  await files.save(second, START_MS + DAY_MS);
  t.deepEqual(await files.current(), second);
  t.is(readlinkSync(files.currentPath), 'kubelet-client-2026-01-02-00-00-00.pem');
  t.deepEqual(readdirSync(directory).sort(), ['kubelet-client-2026-01-02-00-00-00.pem', 'kubelet-client-current.pem']);
  t.is(statSync(files.currentPath).mode & 0o777, 0o600);
  writeFileSync(files.currentPath, 'torn');
  await t.throwsAsync(files.current(), { message: /holds no certificate with its key; remove it/ });
});
