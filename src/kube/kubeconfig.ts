import { readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { parseDocument, stringify } from 'yaml';
import type { ClientConfig } from './transport.ts';

/** A kubeconfig that can't be used: names the file, the field and the way out. */
export class KubeconfigError extends Error {
  override name = 'KubeconfigError';
}

type Fields = Record<string, unknown>;

/** Ways to log in or connect that are refused instead of silently ignored, with what to use instead. */
const REFUSED_USER_FIELDS: Record<string, string> = {
  exec: 'credential plugins are not run; use client-certificate(-data) or token(File)',
  'auth-provider': 'auth providers are not supported; use client-certificate(-data) or token(File)',
  username: 'basic authentication is not supported; use client-certificate(-data) or token(File)',
  as: 'impersonation is not supported; use the credentials of the identity itself',
};
const REFUSED_CLUSTER_FIELDS: Record<string, string> = {
  'insecure-skip-tls-verify': "the server's certificate is always verified; set certificate-authority(-data)",
  'proxy-url': 'proxies are not supported; give a server address that is reached directly',
};

/**
 * Reads a kubeconfig file: its current context (or the one named), data fields or file references (relative to the file).
 * Throws KubeconfigError that names file and field.
 */
export function loadKubeconfig(path: string, options: { context?: string; userAgent?: string } = {}): ClientConfig {
  const fail = (what: string): never => {
    throw new KubeconfigError(`${path}: ${what}`);
  };
  const root = parseFile(path, fail);
  const contextName =
    options.context ??
    string(root, 'current-context', '', fail) ??
    fail('current-context is empty; set it to one of contexts[].name');
  const context = entry(root, 'contexts', 'context', contextName, fail);
  const at = `contexts[${contextName}].context`;
  const clusterName = string(context, 'cluster', at, fail) ?? fail(`${at}.cluster is missing`);
  const cluster = entry(root, 'clusters', 'cluster', clusterName, fail);
  const userName = string(context, 'user', at, fail);
  const user = userName ? entry(root, 'users', 'user', userName, fail) : {};

  const clusterAt = `clusters[${clusterName}].cluster`;
  const userAt = `users[${userName}].user`;
  refuse(cluster, REFUSED_CLUSTER_FIELDS, clusterAt, fail);
  refuse(user, REFUSED_USER_FIELDS, userAt, fail);

  const base = dirname(path);
  const pem = (fields: Fields, field: string, where: string) => dataOrFile(fields, field, where, base, fail);
  const certPem = pem(user, 'client-certificate', userAt);
  const keyPem = pem(user, 'client-key', userAt);
  if (certPem && !keyPem) fail(`${userAt}: client-certificate without client-key; set client-key(-data) too`);
  if (keyPem && !certPem) fail(`${userAt}: client-key without client-certificate; set client-certificate(-data) too`);
  const file = (field: string) => {
    const name = string(user, `${field}-data`, userAt, fail) ? undefined : string(user, field, userAt, fail);
    return name && resolve(base, name);
  };
  const caFile = string(cluster, 'certificate-authority-data', clusterAt, fail)
    ? undefined
    : string(cluster, 'certificate-authority', clusterAt, fail);
  const tokenFile = string(user, 'tokenFile', userAt, fail);
  const tokenPath = tokenFile && resolve(base, tokenFile);
  const token = tokenPath
    ? readReference(tokenPath, `${userAt}.tokenFile`, fail).trim()
    : string(user, 'token', userAt, fail);
  return withoutUndefined({
    server: serverUrl(string(cluster, 'server', clusterAt, fail), `${clusterAt}.server`, fail),
    caPem: pem(cluster, 'certificate-authority', clusterAt),
    caFile: caFile && resolve(base, caFile),
    tlsServerName: string(cluster, 'tls-server-name', clusterAt, fail),
    certPem,
    keyPem,
    certFile: file('client-certificate'),
    keyFile: file('client-key'),
    token,
    tokenFile: tokenPath,
    userAgent: options.userAgent ?? 'berth',
  });
}

export interface KubeconfigContent {
  server: string;
  caPem: string;
  certPem?: string;
  keyPem?: string;
  /** A file with both instead, which somebody keeps up to date. */
  certificateFile?: string;
  /** Of the key, where it has one of its own. */
  keyFile?: string;
  token?: string;
  /** Name of cluster and context; 'berth' unless said. */
  clusterName?: string;
  /** Name of the user entry; 'admin' unless said. */
  userName?: string;
  namespace?: string;
}

/** The text of a kubeconfig with one cluster, user and context, credentials inside. The caller writes it with mode 0600. */
export function renderKubeconfig(content: KubeconfigContent): string {
  const { clusterName = 'berth', userName = 'admin' } = content;
  const base64 = (text: string | undefined) => text && Buffer.from(text).toString('base64');
  return stringify({
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [
      {
        name: clusterName,
        cluster: { server: content.server, 'certificate-authority-data': base64(content.caPem) },
      },
    ],
    users: [
      {
        name: userName,
        user: withoutUndefined({
          'client-certificate-data': base64(content.certPem),
          'client-key-data': base64(content.keyPem),
          'client-certificate': content.certificateFile,
          'client-key': content.keyFile ?? content.certificateFile,
          token: content.token,
        }),
      },
    ],
    contexts: [
      {
        name: clusterName,
        context: withoutUndefined({ cluster: clusterName, user: userName, namespace: content.namespace }),
      },
    ],
    'current-context': clusterName,
  });
}

type Fail = (what: string) => never;

function parseFile(path: string, fail: Fail): Fields {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    return fail(`can't read the kubeconfig: ${(error as Error).message}`);
  }
  const document = parseDocument(text);
  if (document.errors[0]) return fail(`not a kubeconfig: ${document.errors[0].message}`);
  const root = document.toJS() as unknown;
  if (!isFields(root)) return fail('not a kubeconfig: the top level must be a map with clusters, users and contexts');
  if (root['kind'] !== undefined && root['kind'] !== 'Config')
    return fail(`kind is ${JSON.stringify(root['kind'])}, expected "Config"`);
  return root;
}

const isFields = (value: unknown): value is Fields =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

function string(fields: Fields, field: string, where: string, fail: Fail): string | undefined {
  const value = fields[field];
  if (value === undefined || value === null || value === '') return undefined;
  if (typeof value !== 'string')
    return fail(`${where ? `${where}.` : ''}${field} must be a string, got ${JSON.stringify(value)}`);
  return value;
}

/** The named entry of clusters, users or contexts. */
function entry(root: Fields, list: string, field: string, name: string, fail: Fail): Fields {
  const entries = root[list];
  if (!Array.isArray(entries)) return fail(`${list} must be a list`);
  const found = entries.find((one) => isFields(one) && one['name'] === name) as Fields | undefined;
  const names = entries.map((one) => (isFields(one) ? one['name'] : undefined)).join(', ');
  if (!found) return fail(`${list} has no entry named ${JSON.stringify(name)}; it has: ${names || 'none'}`);
  const value = found[field] ?? {};
  return isFields(value) ? value : fail(`${list}[${name}].${field} must be a map`);
}

function refuse(fields: Fields, refused: Record<string, string>, where: string, fail: Fail) {
  for (const [field, reason] of Object.entries(refused))
    if (fields[field]) fail(`${where}.${field}${execName(field, fields[field])}: ${reason}`);
}

function execName(field: string, value: unknown): string {
  return field === 'exec' && isFields(value) ? ` (${String(value['command'])})` : '';
}

function dataOrFile(fields: Fields, field: string, where: string, base: string, fail: Fail): string | undefined {
  const data = string(fields, `${field}-data`, where, fail);
  const at = data ? `${where}.${field}-data` : `${where}.${field}`;
  const file = string(fields, field, where, fail);
  if (!data && !file) return undefined;
  const text = data ? Buffer.from(data, 'base64').toString('utf8') : readReference(resolve(base, file!), at, fail);
  if (!text.includes('-----BEGIN '))
    return fail(`${at} holds no PEM block${data ? ' (base64 of PEM is expected)' : ''}`);
  return text;
}

function readReference(file: string, where: string, fail: Fail): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    return fail(`${where}: can't read the file: ${(error as Error).message}`);
  }
}

function serverUrl(server: string | undefined, where: string, fail: Fail): string {
  if (!server) return fail(`${where} is missing; set it to the API server's URL, such as https://192.0.2.1:6443`);
  const url = URL.parse(server);
  if (!url || (url.protocol !== 'https:' && url.protocol !== 'http:'))
    return fail(`${where} is ${JSON.stringify(server)}, expected a URL such as https://192.0.2.1:6443`);
  return server;
}

function withoutUndefined<T extends object>(fields: T): T {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as T;
}
