import { stringify } from 'yaml';
import {
  NAMESPACE,
  parseTokenSecret,
  SECRET_TYPE,
  secretNameOf,
} from '../../control-plane/bootstrap-tokens/token-secret.ts';
import { shortDuration } from '../../control-plane/resources/columns.ts';
import { formatBootstrapToken, makeBootstrapToken, parseBootstrapToken } from '../../src/auth/bootstrap-token.ts';
import { parseGoDurationMs } from '../../src/config/duration.ts';
import type { KubeClient } from '../../src/kube/client.ts';
import { publicKeyHash } from '../../src/kube/cluster-info.ts';
import { isNotFound } from '../../src/kube/errors.ts';
import { secrets } from '../../src/kube/resources.ts';
import { timestamp } from '../../src/runtime/clock.ts';
import { UserError } from '../output/failure.ts';
import { renderTable } from '../output/table.ts';
import { loadClusterAuthority } from '../pki/load-authority.ts';
import { pathsOf, type Settings } from '../settings.ts';
import { adminClient } from './admin-client.ts';
import { knownCluster } from './known-cluster.ts';

export interface CreateTokenFlags {
  rootDir: string;
  ttl: string;
  description?: string;
  token?: string;
  output?: string;
}

/** `berth token create`: prints a new bootstrap token, and how another host joins with it. */
export async function createToken(flags: CreateTokenFlags): Promise<void> {
  const ttlMs = flags.ttl === '0' ? 0 : parseGoDurationMs(flags.ttl);
  if (ttlMs === undefined || ttlMs < 0)
    throw new UserError(`--ttl ${flags.ttl}: expected a duration such as 24h, or 0 for a token that never expires`, 2);
  const token = flags.token === undefined ? makeBootstrapToken() : parseBootstrapToken(flags.token);
  if (!token) throw new UserError('--token: expected six characters, a dot, and sixteen, of a to z and 0 to 9', 2);
  await withCluster(flags.rootDir, async (client, settings) => {
    const { certPem } = await loadClusterAuthority(pathsOf(settings).pki);
    const expiration = ttlMs > 0 ? timestamp(Date.now() + ttlMs) : undefined;
    await client.create(secrets, {
      metadata: { name: secretNameOf(token.id), namespace: NAMESPACE },
      type: SECRET_TYPE,
      stringData: {
        'token-id': token.id,
        'token-secret': token.secret,
        'usage-bootstrap-authentication': 'true',
        'usage-bootstrap-signing': 'true',
        ...(expiration && { expiration }),
        ...(flags.description && { description: flags.description }),
      },
    });
    const text = formatBootstrapToken(token);
    const server = `https://${settings.nodeIp}:${settings.apiPort}`;
    const caHash = publicKeyHash(certPem);
    if (flags.output) return print(flags.output, { token: text, server, caHash, expires: expiration ?? null });
    process.stdout.write(`${text}\n`);
    process.stderr.write(
      `${expiration ? `Good until ${expiration}.` : 'It never expires.'} On the host that is to join:\n\n  ./berth join --server ${server} --token ${text} --ca-hash ${caHash}\n\n`,
    );
  });
}

/** `berth token list`: ids and what they are for; the secret halves stay where they are. */
export async function listTokens(flags: { rootDir: string; output?: string }): Promise<void> {
  await withCluster(flags.rootDir, async (client) => {
    const { items } = await client.list(secrets, { namespace: NAMESPACE, fieldSelector: `type=${SECRET_TYPE}` });
    const tokens = items.flatMap((secret) => {
      const known = parseTokenSecret(secret);
      if (!known) return [];
      const description = Buffer.from(secret.data?.['description'] ?? '', 'base64').toString();
      const expires = known.expiresAtMs === undefined ? null : timestamp(known.expiresAtMs);
      return [{ id: known.token.id, expires, description }];
    });
    if (flags.output) return print(flags.output, tokens);
    if (tokens.length === 0)
      return void process.stdout.write("There are no bootstrap tokens; 'berth token create' makes one.\n");
    const rows = tokens.map(({ id, expires, description }) => [
      id,
      expires === null ? '<forever>' : shortDuration(Date.parse(expires) - Date.now()),
      expires ?? '<never>',
      description || '<none>',
    ]);
    process.stdout.write(`${renderTable(['ID', 'TTL', 'EXPIRES', 'DESCRIPTION'], rows)}\n`);
  });
}

/** `berth token delete`: hosts that joined with it stay; nobody joins with it any more. */
export async function deleteToken(text: string, flags: { rootDir: string }): Promise<void> {
  const id = /^[a-z0-9]{6}$/.test(text) ? text : parseBootstrapToken(text)?.id;
  if (!id) throw new UserError(`${text}: expected a token or its id (the six characters before the dot)`, 2);
  await withCluster(flags.rootDir, async (client) => {
    try {
      await client.delete(secrets, { namespace: NAMESPACE, name: secretNameOf(id) });
    } catch (error) {
      if (isNotFound(error)) throw new UserError(`there is no token ${id}: 'berth token list' shows which there are`);
      throw error;
    }
  });
  process.stdout.write(`token ${id} deleted\n`);
}

async function withCluster(
  rootDir: string,
  work: (client: KubeClient, settings: Settings) => Promise<void>,
): Promise<void> {
  const settings = knownCluster(rootDir);
  const client = adminClient(settings);
  if (!client) throw new UserError(`there is no ${settings.kubeconfig}: 'berth up' writes it`);
  try {
    await work(client, settings);
  } finally {
    await client.close();
  }
}

function print(output: string, value: unknown): void {
  if (output !== 'json' && output !== 'yaml') throw new UserError(`-o ${output}: json or yaml`, 2);
  process.stdout.write(output === 'json' ? `${JSON.stringify(value, null, 2)}\n` : stringify(value));
}
