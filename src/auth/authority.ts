// @peculiar/x509's container needs it before it loads.
import 'reflect-metadata';
import { randomBytes, webcrypto } from 'node:crypto';
import * as x509 from '@peculiar/x509';
import type { ParsedCertificateRequest } from './certificate-request.ts';

/** A certificate and its private key (PKCS #8), both PEM. */
export interface CertificatePair {
  readonly certPem: string;
  readonly keyPem: string;
}

/** A certificate authority whose key is at hand. */
export interface CertificateAuthority extends CertificatePair {
  readonly certificate: x509.X509Certificate;
  readonly privateKey: webcrypto.CryptoKey;
}

export interface CertificateRequest {
  /** The user name of a client certificate. */
  readonly commonName: string;
  /** The groups of a client certificate. */
  readonly organizations?: readonly string[];
  readonly dnsNames?: readonly string[];
  readonly ipAddresses?: readonly string[];
  readonly usages: readonly ('client' | 'server')[];
  readonly days: number;
  readonly nowMs: number;
}

const KEY_ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
const DAY_MS = 86_400_000;
/** Certificates start a little in the past, for peers whose clocks are behind. */
const BACKDATE_MS = 5 * 60_000;

x509.cryptoProvider.set(webcrypto as unknown as Parameters<typeof x509.cryptoProvider.set>[0]);

/** Makes a self-signed ECDSA P-256 authority. */
export async function createCertificateAuthority(options: {
  commonName: string;
  days: number;
  nowMs: number;
}): Promise<CertificateAuthority> {
  const keys = await generateKeys();
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: serialNumber(),
    name: subject(options.commonName, []),
    ...validity(options),
    signingAlgorithm: KEY_ALGORITHM,
    keys,
    extensions: [
      new x509.BasicConstraintsExtension(true, undefined, true),
      new x509.KeyUsagesExtension(
        x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.digitalSignature | x509.KeyUsageFlags.keyEncipherment,
        true,
      ),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  return {
    certificate,
    privateKey: keys.privateKey,
    certPem: pemText(certificate),
    keyPem: await privateKeyPem(keys.privateKey),
  };
}

/** Reads an authority back. Throws an Error that says which of the two is unusable and why. */
export async function loadCertificateAuthority(pair: CertificatePair): Promise<CertificateAuthority> {
  const certificate = readable('CA certificate', () => new x509.X509Certificate(pair.certPem));
  const basic = certificate.getExtension(x509.BasicConstraintsExtension);
  if (!basic?.ca) throw new Error(`the certificate of ${certificate.subject} is not one of a certificate authority`);
  const der = readable('CA key', () => x509.PemConverter.decode(pair.keyPem)[0]!);
  let privateKey: webcrypto.CryptoKey;
  try {
    privateKey = await webcrypto.subtle.importKey('pkcs8', der, KEY_ALGORITHM, true, ['sign']);
  } catch (error) {
    throw new Error('the CA key is not an ECDSA P-256 key in PKCS #8 PEM', { cause: error });
  }
  await checkPair(certificate, privateKey);
  return { certificate, privateKey, certPem: pair.certPem, keyPem: pair.keyPem };
}

/** Issues a certificate with a fresh key. Client names go to CN and O, as Kubernetes reads them. */
export async function issueCertificate(
  authority: CertificateAuthority,
  request: CertificateRequest,
): Promise<CertificatePair> {
  const keys = await generateKeys();
  const names = [
    ...(request.dnsNames ?? []).map((value) => ({ type: 'dns' as const, value })),
    ...(request.ipAddresses ?? []).map((value) => ({ type: 'ip' as const, value })),
  ];
  const usages = request.usages.map((usage) =>
    usage === 'client' ? x509.ExtendedKeyUsage.clientAuth : x509.ExtendedKeyUsage.serverAuth,
  );
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: serialNumber(),
    subject: subject(request.commonName, request.organizations ?? []),
    issuer: authority.certificate.subjectName,
    ...validity(request),
    signingKey: authority.privateKey,
    publicKey: keys.publicKey,
    signingAlgorithm: KEY_ALGORITHM,
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature | x509.KeyUsageFlags.keyEncipherment, true),
      new x509.ExtendedKeyUsageExtension(usages),
      await x509.AuthorityKeyIdentifierExtension.create(authority.certificate.publicKey),
      ...(names.length > 0 ? [new x509.SubjectAlternativeNameExtension(names)] : []),
    ],
  });
  return { certPem: pemText(certificate), keyPem: await privateKeyPem(keys.privateKey) };
}

/** Usages of the certificates API that a node or a client asks for, in its words. */
export type SignedUsage = 'digital signature' | 'key encipherment' | 'client auth' | 'server auth';

/**
 * Issues the certificate that somebody else's key asked for, subject and names as in the request: who may have them is decided before.
 * It never outlives the authority. @returns PEM
 */
export async function signCertificateRequest(
  authority: CertificateAuthority,
  request: ParsedCertificateRequest,
  options: { usages: readonly SignedUsage[]; seconds: number; nowMs: number },
): Promise<string> {
  const { usages, seconds, nowMs } = options;
  const has = (usage: SignedUsage) => usages.includes(usage);
  const names = [
    ...request.dnsNames.map((value) => ({ type: 'dns' as const, value })),
    ...request.ipAddresses.map((value) => ({ type: 'ip' as const, value })),
  ];
  const keyUsages =
    (has('digital signature') ? x509.KeyUsageFlags.digitalSignature : 0) |
    (has('key encipherment') ? x509.KeyUsageFlags.keyEncipherment : 0);
  const extended = [
    ...(has('client auth') ? [x509.ExtendedKeyUsage.clientAuth] : []),
    ...(has('server auth') ? [x509.ExtendedKeyUsage.serverAuth] : []),
  ];
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: serialNumber(),
    subject: request.subject.toJSON(),
    issuer: authority.certificate.subjectName,
    notBefore: new Date(nowMs - BACKDATE_MS),
    notAfter: new Date(Math.min(nowMs + seconds * 1000, authority.certificate.notAfter.getTime())),
    signingKey: authority.privateKey,
    publicKey: request.publicKey,
    signingAlgorithm: KEY_ALGORITHM,
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(keyUsages, true),
      new x509.ExtendedKeyUsageExtension(extended),
      await x509.AuthorityKeyIdentifierExtension.create(authority.certificate.publicKey),
      ...(names.length > 0 ? [new x509.SubjectAlternativeNameExtension(names)] : []),
    ],
  });
  return pemText(certificate);
}

function generateKeys(): Promise<webcrypto.CryptoKeyPair> {
  return webcrypto.subtle.generateKey(KEY_ALGORITHM, true, ['sign', 'verify']);
}

/** Positive, 16 random bytes: unique without a counter that would have to be kept. */
function serialNumber(): string {
  const bytes = randomBytes(16);
  bytes[0] = (bytes[0]! & 0x7f) | 0x40;
  return bytes.toString('hex');
}

function validity(options: { days: number; nowMs: number }) {
  return {
    notBefore: new Date(options.nowMs - BACKDATE_MS),
    notAfter: new Date(options.nowMs + options.days * DAY_MS),
  };
}

/** Structured, so that no character of a name needs escaping. */
function subject(commonName: string, organizations: readonly string[]): x509.JsonName {
  return [...organizations.map((organization) => ({ O: [organization] })), { CN: [commonName] }];
}

async function privateKeyPem(key: webcrypto.CryptoKey): Promise<string> {
  return `${x509.PemConverter.encode(await webcrypto.subtle.exportKey('pkcs8', key), 'PRIVATE KEY')}\n`;
}

const pemText = (certificate: x509.X509Certificate) => `${certificate.toString('pem')}\n`;

function readable<T>(what: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    throw new Error(`the ${what} is not readable PEM: ${error instanceof Error ? error.message : String(error)}`, {
      cause: error,
    });
  }
}

/** A CA certificate beside the key of another CA would issue certificates that nobody accepts. */
async function checkPair(certificate: x509.X509Certificate, privateKey: webcrypto.CryptoKey): Promise<void> {
  const probe = randomBytes(32);
  const signature = await webcrypto.subtle.sign(KEY_ALGORITHM, privateKey, probe);
  const publicKey = (await certificate.publicKey.export()) as webcrypto.CryptoKey;
  if (!(await webcrypto.subtle.verify(KEY_ALGORITHM, publicKey, signature, probe)))
    throw new Error(`the CA key does not belong to the certificate of ${certificate.subject}`);
}
