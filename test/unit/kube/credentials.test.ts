import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { certificateSource } from '../../../src/kube/credentials.ts';
import { createFakeClock } from '../../fakes/clock.ts';

test('a certificate in files is read again every minute; files that are gone leave the last one in force', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'berth-credentials-'));
  const [certFile, keyFile] = [join(folder, 'cert.pem'), join(folder, 'key.pem')];
  const write = (text: string) => {
    writeFileSync(certFile, `cert ${text}`);
    writeFileSync(keyFile, `key ${text}`);
  };
  write('one');
  const clock = createFakeClock();
  const source = certificateSource({ certPem: 'cert one', keyPem: 'key one', certFile, keyFile }, clock);
  const first = source();
  write('two');
  t.is(source(), first);
  await clock.advance(60_000);
  t.deepEqual(source(), { certPem: 'cert two', keyPem: 'key two' });
  const second = source();
  await clock.advance(60_000);
  t.is(source(), second, 'the same content is the same certificate: no connection is dropped for it');
  rmSync(folder, { recursive: true });
  await clock.advance(60_000);
  t.is(source(), second);
});

test('a certificate that is part of the kubeconfig stays what it is', (t) => {
  const source = certificateSource({ certPem: 'c', keyPem: 'k' }, createFakeClock());
  t.is(source(), source());
});
