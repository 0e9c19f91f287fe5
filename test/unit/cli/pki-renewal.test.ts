import { X509Certificate } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { type ClusterPki, ensureClusterPki } from '../../../cli/pki/cluster-pki.ts';
import { createPkiRenewal } from '../../../cli/pki/renewal.ts';
import { silentLogger } from '../../../src/runtime/log.ts';
import { createFakeClock } from '../../fakes/clock.ts';
import { eventually } from '../../support/eventually.ts';

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;

test('a daemon that runs for years: its certificates are renewed in its files at 80 % of their life, and handed to whoever holds them', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'berth-renewal-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const clock = createFakeClock();
  let looks = 0;
  let broken = false;
  const ensure = async () => {
    if (broken) throw new Error('disk full');
    const pki = await ensureClusterPki({
      folder,
      nodeName: 'n',
      nodeIps: ['192.0.2.1'],
      apiServerIps: ['127.0.0.1'],
      apiServerNames: ['localhost'],
      nowMs: clock.nowMs(),
    });
    looks++;
    return pki;
  };
  const first = await ensure();
  const used: ClusterPki[] = [];
  const stop = new AbortController();
  const running = createPkiRenewal(
    { current: first, ensure, use: (pki) => void used.push(pki) },
    { clock, log: silentLogger },
  ).run(stop.signal);
  const look = async () => {
    const before = looks;
    await clock.advance(HOUR_MS);
    await eventually('it has looked', () => looks > before);
  };
  clock.step(280 * DAY_MS);
  await look();
  t.is(used.length, 0);
  clock.step(13 * DAY_MS);
  await look();
  await eventually('it is handed over', () => used.length === 1);
  const [second] = used;
  t.is(second!.ca.certPem, first.ca.certPem, 'the authority stays');
  for (const [name, pair] of Object.entries(second!)) {
    if (typeof pair !== 'object' || !('certFile' in pair)) continue;
    const before = first[name as 'node'];
    t.not(pair.certPem, before.certPem, name);
    t.is(readFileSync(pair.certFile, 'utf8'), pair.certPem, name);
    t.true(new X509Certificate(pair.certPem).validToDate.getTime() > clock.nowMs() + 364 * DAY_MS, name);
    t.true(new X509Certificate(pair.certPem).verify(new X509Certificate(first.ca.certPem).publicKey), name);
  }
  await look();
  t.is(used.length, 1, 'nothing is renewed twice');
  // A disk that is full is tried again every minute.
  clock.step(300 * DAY_MS);
  broken = true;
  await clock.advance(HOUR_MS);
  broken = false;
  await clock.advance(60_000);
  await eventually('it is renewed when it can be', () => used.length === 2);
  stop.abort();
  await running;
});
