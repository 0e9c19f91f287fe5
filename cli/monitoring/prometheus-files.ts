import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { issueCertificate } from '../../src/auth/authority.ts';
import { writeCertificatePair, writeFileAtomically } from '../../src/auth/pem-files.ts';
import { nodes } from '../../src/kube/resources.ts';
import type { Node } from '../../src/kube/types.ts';
import { ExecError, run } from '../../src/linux/exec.ts';
import { adminClient } from '../cluster/admin-client.ts';
import { knownCluster } from '../cluster/known-cluster.ts';
import { UserError } from '../output/failure.ts';
import { loadClusterAuthority } from '../pki/load-authority.ts';
import { checkRoot } from '../preflight/checks.ts';
import { pathsOf, type Settings } from '../settings.ts';
import { renderNodeTargets, renderPrometheusConfig } from './prometheus-config.ts';

const DAYS = 365;
const API_TIMEOUT_MS = 10_000;
/** What the API server lets into /metrics, and the nodes too; the name is what it lets look at nodes and endpoints. */
const IDENTITY = { commonName: 'berth-prometheus', organizations: ['system:monitoring'], usages: ['client'] as const };

/** Writes ca.crt, prometheus.crt, prometheus.key (0600) and nodes.json, new each time, and prometheus.yml where there is none yet. */
export async function writePrometheusFiles(options: {
  folder: string;
  owner?: string;
  rootDir: string;
}): Promise<void> {
  checkRoot('prometheus');
  const { folder, owner } = options;
  const settings = knownCluster(options.rootDir);
  if (owner !== undefined) await checkUser(owner);
  const ca = await loadClusterAuthority(pathsOf(settings).pki);
  const targets = renderNodeTargets(await listNodes(settings));
  const pair = await issueCertificate(ca, { ...IDENTITY, days: DAYS, nowMs: Date.now() });
  const at = (file: string) => join(folder, file);
  const config = at('prometheus.yml');
  try {
    mkdirSync(folder, { recursive: true, mode: 0o755 });
    await writeFileAtomically(at('ca.crt'), ca.certPem, 0o644);
    await writeCertificatePair({ certPath: at('prometheus.crt'), keyPath: at('prometheus.key') }, pair);
    await writeFileAtomically(at('nodes.json'), targets, 0o644);
    if (!existsSync(config)) await writeFileAtomically(config, renderPrometheusConfig(settings), 0o644);
  } catch (error) {
    throw new UserError(`${folder}: ${(error as Error).message}`);
  }
  if (owner !== undefined) await run('chown', ['--', owner, at('prometheus.key')]);
  process.stdout.write(`prometheus --config.file=${config}\n`);
}

async function listNodes(settings: Settings): Promise<Node[]> {
  const client = adminClient(settings);
  try {
    return (await client?.list(nodes, { signal: AbortSignal.timeout(API_TIMEOUT_MS) }))?.items ?? [];
  } catch (error) {
    throw new UserError(
      `the API server, which knows the nodes, does not answer (${(error as Error).message}): 'berth up' starts it`,
    );
  } finally {
    await client?.close();
  }
}

async function checkUser(name: string): Promise<void> {
  try {
    await run('id', ['-u', '--', name]);
  } catch (error) {
    throw new UserError(`--owner ${name}: ${error instanceof ExecError ? error.stderr : String(error)}`);
  }
}
