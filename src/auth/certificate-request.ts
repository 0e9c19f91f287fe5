// @peculiar/x509's container needs it before it loads.
import 'reflect-metadata';
import { webcrypto } from 'node:crypto';
import * as x509 from '@peculiar/x509';

/** What a PKCS #10 request asks for. */
export interface ParsedCertificateRequest {
  readonly commonName: string;
  readonly organizations: readonly string[];
  readonly dnsNames: readonly string[];
  readonly ipAddresses: readonly string[];
  /** Other kinds of names (e-mail, URI, …), which no certificate of a node has. */
  readonly otherNames: readonly string[];
  readonly publicKey: x509.PublicKey;
  readonly subject: x509.Name;
}

export interface RequestedIdentity {
  /** `system:node:NAME` */
  readonly commonName: string;
  readonly organizations: readonly string[];
  readonly dnsNames?: readonly string[];
  readonly ipAddresses?: readonly string[];
}

const SUBJECT_ALT_NAME = '2.5.29.17';
const KEY_ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };

/** Makes an ECDSA P-256 key and a request for a certificate over it, both PEM. The key never leaves this side. */
export async function createCertificateRequest(
  identity: RequestedIdentity,
): Promise<{ requestPem: string; keyPem: string }> {
  const keys = await webcrypto.subtle.generateKey(KEY_ALGORITHM, true, ['sign', 'verify']);
  const names = [
    ...(identity.dnsNames ?? []).map((value) => ({ type: 'dns' as const, value })),
    ...(identity.ipAddresses ?? []).map((value) => ({ type: 'ip' as const, value })),
  ];
  const request = await x509.Pkcs10CertificateRequestGenerator.create(
    {
      name: [...identity.organizations.map((one) => ({ O: [one] })), { CN: [identity.commonName] }],
      keys,
      signingAlgorithm: KEY_ALGORITHM,
      extensions: names.length > 0 ? [new x509.SubjectAlternativeNameExtension(names)] : [],
    },
    webcrypto as never,
  );
  const key = await webcrypto.subtle.exportKey('pkcs8', keys.privateKey);
  return {
    requestPem: `${request.toString('pem')}\n`,
    keyPem: `${x509.PemConverter.encode(key, 'PRIVATE KEY')}\n`,
  };
}

/** Reads a request and checks that its sender holds the key. Throws an Error that says what is wrong with it. */
export async function parseCertificateRequest(pem: string): Promise<ParsedCertificateRequest> {
  const match = /-----BEGIN ([A-Z0-9 ]+)-----/.exec(pem);
  if (match?.[1] !== 'CERTIFICATE REQUEST' && match?.[1] !== 'NEW CERTIFICATE REQUEST')
    throw new Error('PEM block type must be CERTIFICATE REQUEST');
  const request = new x509.Pkcs10CertificateRequest(pem);
  if (!(await request.verify(webcrypto as never))) throw new Error('the signature is not by the key of the request');
  const alternative = request.getExtension(SUBJECT_ALT_NAME) as x509.SubjectAlternativeNameExtension | undefined;
  const names = alternative?.names.items ?? [];
  const ofType = (type: string) => names.filter((name) => name.type === type).map(({ value }) => value);
  return {
    commonName: request.subjectName.getField('CN')[0] ?? '',
    organizations: request.subjectName.getField('O'),
    dnsNames: ofType('dns'),
    ipAddresses: ofType('ip'),
    otherNames: names.filter(({ type }) => type !== 'dns' && type !== 'ip').map(({ value }) => value),
    publicKey: request.publicKey,
    subject: request.subjectName,
  };
}
