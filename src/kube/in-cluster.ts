import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ClientConfig } from './client.ts';

const SERVICE_ACCOUNT_FOLDER = '/var/run/secrets/kubernetes.io/serviceaccount';

/**
 * How a pod reaches its cluster's API server: the address from its environment, token and CA from its service account's files (the token is read
 * again as it is renewed). Undefined outside of a pod.
 */
export function loadInClusterConfig(
  environment: Readonly<Record<string, string | undefined>>,
  options: { userAgent: string; folder?: string },
): ClientConfig | undefined {
  const { KUBERNETES_SERVICE_HOST: host, KUBERNETES_SERVICE_PORT: port } = environment;
  const folder = options.folder ?? SERVICE_ACCOUNT_FOLDER;
  const [tokenFile, caFile] = [join(folder, 'token'), join(folder, 'ca.crt')];
  if (!host || !port || !existsSync(tokenFile)) return undefined;
  return {
    server: `https://${host.includes(':') ? `[${host}]` : host}:${port}`,
    token: readFileSync(tokenFile, 'utf8').trim(),
    tokenFile,
    ...(existsSync(caFile) ? { caFile, caPem: readFileSync(caFile, 'utf8') } : {}),
    userAgent: options.userAgent,
  };
}
