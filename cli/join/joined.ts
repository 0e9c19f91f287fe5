import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { writeFileAtomically } from '../../src/auth/pem-files.ts';
import type { NodeFiles } from '../daemon/node-launch.ts';
import { UserError } from '../output/failure.ts';

/** Where a host that joins keeps what it was told; `/var/lib/berth` may be a cluster of its own. */
export const JOIN_ROOT_DIR = '/var/lib/berth-node';

/** What a node that joined must know to be started again, and to be taken away. */
const joinedSchema = z.strictObject({
  server: z.string(),
  nodeName: z.string(),
  /** Absent: what the host has at each start. */
  nodeIp: z.string().optional(),
  dockerEndpoint: z.string(),
  clusterCidr: z.string(),
  serviceCidr: z.string(),
  /** As the cluster says; absent: plain routes. */
  overlayBackend: z.string().optional(),
  netConfigPath: z.string().optional(),
});

export type Joined = z.infer<typeof joinedSchema>;

export interface JoinPaths extends NodeFiles {
  joined: string;
  config: string;
  kubeconfig: string;
  bootstrapKubeconfig: string;
  /** Of the overlay, where the cluster gives it. */
  netConf: string;
  /** Who signs the cluster's certificates. */
  ca: string;
}

export function joinPaths(rootDir: string): JoinPaths {
  return {
    rootDir,
    pid: join(rootDir, 'node.pid'),
    log: join(rootDir, 'log/node.log'),
    joined: join(rootDir, 'joined.json'),
    config: join(rootDir, 'kubelet.yaml'),
    kubeconfig: join(rootDir, 'node.kubeconfig'),
    bootstrapKubeconfig: join(rootDir, 'bootstrap.kubeconfig'),
    netConf: join(rootDir, 'net-conf.json'),
    ca: join(rootDir, 'pki/ca.crt'),
  };
}

/** undefined where nobody has joined. Throws UserError for a file that is not ours. */
export function readJoined({ joined }: JoinPaths): Joined | undefined {
  let text: string;
  try {
    text = readFileSync(joined, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw new UserError(`${joined} cannot be read: ${(error as Error).message}`);
  }
  try {
    return joinedSchema.parse(JSON.parse(text));
  } catch (error) {
    throw new UserError(`${joined} is not what 'berth join' writes: ${(error as Error).message}`);
  }
}

export const writeJoined = ({ joined }: JoinPaths, what: Joined): Promise<void> =>
  writeFileAtomically(joined, `${JSON.stringify(what, null, 2)}\n`, 0o600);

/** Arguments of `berth node` for it. */
export function nodeArguments(paths: JoinPaths, joined: Joined): string[] {
  return Object.entries({
    'root-dir': paths.rootDir,
    kubeconfig: paths.kubeconfig,
    'bootstrap-kubeconfig': paths.bootstrapKubeconfig,
    config: paths.config,
    'node-name': joined.nodeName,
    'node-ip': joined.nodeIp,
    'docker-endpoint': joined.dockerEndpoint,
    'cluster-cidr': joined.clusterCidr,
    'service-cidr': joined.serviceCidr,
    'overlay-backend': joined.overlayBackend,
    'net-config-path': joined.netConfigPath,
  }).flatMap(([name, value]) => (value === undefined ? [] : [`--${name}`, value]));
}
