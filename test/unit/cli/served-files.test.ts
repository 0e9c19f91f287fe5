import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { kubeletConfiguration } from '../../../agent/config/kubelet-configuration.ts';
import { createServedFilesPart } from '../../../cli/roots/served-files.ts';
import { settleConfig } from '../../../cli/roots/settled-config.ts';
import { type CertificatePair, createCertificateAuthority, issueCertificate } from '../../../src/auth/authority.ts';
import { loadConfig } from '../../../src/config/load.ts';
import { silentLogger } from '../../../src/runtime/log.ts';
import { createFakeClock } from '../../fakes/clock.ts';

const MINUTE_MS = 60_000;
const nowMs = Date.UTC(2026, 0, 1);
const authority = await createCertificateAuthority({ commonName: 'ca', days: 3650, nowMs });
const other = await createCertificateAuthority({ commonName: 'other', days: 3650, nowMs });
const issue = () => issueCertificate(authority, { commonName: 'n', usages: ['server'], days: 365, nowMs });

async function scene(t: ExecutionContext) {
  const folder = mkdtempSync(join(tmpdir(), 'berth-served-'));
  const [certFile, keyFile, caFile] = ['tls.crt', 'tls.key', 'ca.crt'].map((name) => join(folder, name)) as [
    string,
    string,
    string,
  ];
  const write = ({ certPem, keyPem }: CertificatePair) => {
    writeFileSync(keyFile, keyPem);
    writeFileSync(certFile, certPem);
  };
  const first = await issue();
  write(first);
  writeFileSync(caFile, authority.certPem);
  const clock = createFakeClock(nowMs);
  const served: string[] = [];
  const authorities: string[] = [];
  let current = first.certPem;
  const config = settleConfig(loadConfig(kubeletConfiguration), {
    tlsCertFile: certFile,
    tlsPrivateKeyFile: keyFile,
    clientCAFile: caFile,
  });
  const stop = new AbortController();
  const running = createServedFilesPart(
    {
      config,
      serving: first,
      clientCaPem: authority.certPem,
      current: () => current,
      onServing({ certPem }) {
        current = certPem;
      },
    },
    {
      useCertificate: ({ certPem }) => void served.push(certPem),
      useClientCa: (pem) => void authorities.push(pem),
    },
    { clock, log: silentLogger },
  ).run(stop.signal);
  t.teardown(async () => {
    stop.abort();
    await running;
    rmSync(folder, { recursive: true });
  });
  return {
    files: { certFile, keyFile, caFile },
    served,
    authorities,
    write,
    minutes: (count: number) => clock.advance(count * MINUTE_MS),
    /** Another part has put this one into force. */
    replace(pair: CertificatePair) {
      current = pair.certPem;
    },
  };
}

test('a certificate and an authority that others renew in their files are taken within a minute, once', async (t) => {
  const { files, served, authorities, write, minutes } = await scene(t);
  await minutes(5);
  t.deepEqual([served, authorities], [[], []]);
  const second = await issue();
  write(second);
  writeFileSync(files.caFile, other.certPem);
  await minutes(5);
  t.deepEqual(served, [second.certPem]);
  t.deepEqual(authorities, [other.certPem]);
});

test('torn, missing and senseless files leave what was before in force', async (t) => {
  const { files, served, authorities, write, minutes } = await scene(t);
  writeFileSync(files.certFile, 'torn');
  writeFileSync(files.caFile, 'torn');
  await minutes(3);
  rmSync(files.keyFile);
  rmSync(files.caFile);
  await minutes(3);
  t.deepEqual([served, authorities], [[], []]);
  const second = await issue();
  write(second);
  writeFileSync(files.caFile, other.certPem);
  await minutes(2);
  t.deepEqual([served, authorities], [[second.certPem], [other.certPem]]);
});

test('a certificate by CSR stays in force although the files hold the self-signed one of the start', async (t) => {
  const { served, replace, minutes } = await scene(t);
  replace(await issue());
  await minutes(10);
  t.deepEqual(served, []);
});
