import { createHash, createPublicKey, generateKeyPairSync } from 'node:crypto';
import test from 'ava';
import { createSigningKeyPem, loadSigningKey } from '../../../src/auth/signing-key.ts';

const rsaPem = (bits: number) =>
  generateKeyPairSync('rsa', { modulusLength: bits }).privateKey.export({ type: 'pkcs1', format: 'pem' }) as string;
const header = (token: string) => JSON.parse(Buffer.from(token.split('.')[0]!, 'base64url').toString());

test('an own key signs ES256 under the name of its public key, and knows its own', async (t) => {
  const key = loadSigningKey(createSigningKeyPem());
  const der = createPublicKey(key.publicPem).export({ type: 'spki', format: 'der' });
  t.is(key.keyId, createHash('sha256').update(der).digest('base64url'));
  const token = await key.sign({ sub: 'me' });
  t.deepEqual(header(token), { alg: 'ES256', kid: key.keyId });
  t.deepEqual(JSON.parse(Buffer.from(await key.verify(token)).toString()), { sub: 'me' });
  t.like(key.publicJwk, { use: 'sig', alg: 'ES256', kid: key.keyId, kty: 'EC', crv: 'P-256' });
  t.false('d' in key.publicJwk, 'the private part is not published');
});

test('an RSA key, such as kubeadm makes, signs RS256', async (t) => {
  const key = loadSigningKey(rsaPem(2048));
  t.like(key.publicJwk, { alg: 'RS256', kty: 'RSA', e: 'AQAB' });
  t.deepEqual(Object.keys(key.publicJwk).sort(), ['alg', 'e', 'kid', 'kty', 'n', 'use']);
  await t.notThrowsAsync(key.verify(await key.sign({})));
});

test('another key, a changed token, no signature and another algorithm are refused', async (t) => {
  const key = loadSigningKey(createSigningKeyPem());
  const token = await key.sign({ sub: 'me' });
  const [head, , signature] = token.split('.');
  const encode = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
  await t.throwsAsync(key.verify(await loadSigningKey(createSigningKeyPem()).sign({ sub: 'me' })));
  await t.throwsAsync(key.verify(await loadSigningKey(rsaPem(2048)).sign({ sub: 'me' })));
  await t.throwsAsync(key.verify(`${head}.${encode({ sub: 'you' })}.${signature}`));
  await t.throwsAsync(key.verify(`${encode({ alg: 'none' })}.${encode({ sub: 'me' })}.`));
  await t.throwsAsync(key.verify(`${encode({ alg: 'HS256' })}.${encode({ sub: 'me' })}.${signature}`));
  await t.throwsAsync(key.verify('no token'));
});

test('keys that can not sign are refused by what they are', (t) => {
  const of = (type: 'ed25519') =>
    generateKeyPairSync(type).privateKey.export({ type: 'pkcs8', format: 'pem' }) as string;
  t.throws(() => loadSigningKey(of('ed25519')), { message: /is of type ed25519; ECDSA P-256 and RSA from 2048/ });
  t.throws(() => loadSigningKey(rsaPem(1024)), { message: /is of type rsa 1024 bits/ });
  t.throws(() => loadSigningKey('nothing'), { message: /not a private key in PEM/ });
});
