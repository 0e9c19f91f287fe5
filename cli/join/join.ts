import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseBootstrapToken } from '../../src/auth/bootstrap-token.ts';
import { createKubeClient, type KubeClient } from '../../src/kube/client.ts';
import { DiscoveryError, discoverCluster, UnknownTokenError } from '../../src/kube/cluster-info.ts';
import { loadKubeconfig, renderKubeconfig } from '../../src/kube/kubeconfig.ts';
import { nodes } from '../../src/kube/resources.ts';
import { systemClock } from '../../src/runtime/clock.ts';
import { nodeLogEnd, nodePid, nodeRuns, startNode, stopNode } from '../daemon/node-launch.ts';
import { enginePings } from '../engine/ping.ts';
import { UserError } from '../output/failure.ts';
import { createSteps } from '../output/steps.ts';
import { checkNodeIp, checkRoot } from '../preflight/checks.ts';
import { detectNodeIp } from '../preflight/node-ip.ts';
import { checkNodeNameIsFree } from '../preflight/node-name.ts';
import { nodeNameOf } from '../roots/node-client.ts';
import { readOverlaySource } from '../roots/overlay-settings.ts';
import { type JoinPaths, joinPaths, nodeArguments, readJoined, writeJoined } from './joined.ts';
import { configForHost, type NodeConfig, readNodeConfig } from './node-config.ts';
import { whatNodesMayNot } from './rights.ts';

export interface JoinFlags {
  server: string;
  token: string;
  caHash?: string[];
  unsafeSkipCaVerification?: boolean;
  nodeName?: string;
  nodeIp?: string;
  rootDir: string;
  dockerEndpoint: string;
  overlayBackend?: string;
  netConfigPath?: string;
}

const READY_TIMEOUT_MS = 120_000;
const POLL_MS = 100;
/** A token that was made a moment ago: the cluster's controller signs with it a moment later. */
const SIGNING_TIMEOUT_MS = 3_000;
const SIGNING_POLL_MS = 500;

/**
 * `berth join`: this host becomes a node of another host's cluster. The cluster is made sure of (token, CA), then the node asks for its certificate with the token,
 * and its daemon starts. Nothing is written before every check has passed.
 */
export async function join(flags: JoinFlags): Promise<void> {
  checkRoot('join');
  const asked = checkFlags(flags);
  const paths = joinPaths(flags.rootDir);
  const before = readJoined(paths);
  if (before)
    throw new UserError(
      `this host is node ${before.nodeName} of ${before.server} already: 'berth leave' undoes that${nodePid(paths) === undefined ? ", 'systemctl start berth-node' or a boot starts it again" : ''}`,
    );
  const nodeName = nodeNameOf(flags);
  const nodeIp = flags.nodeIp ?? (await detectNodeIp());
  checkNodeIp(nodeIp);
  if (!(await enginePings(flags.dockerEndpoint.replace(/^unix:\/\//, ''))))
    throw new UserError(
      `no Docker Engine answers on ${flags.dockerEndpoint}: install or start one (apt-get install docker.io), or name another with --docker-endpoint`,
    );
  const steps = createSteps();
  const cluster = await steps.run('the cluster is the one that the token is for', () => discover(asked));
  const bootstrap = { server: cluster.server, caPem: cluster.caPem, token: flags.token };
  const client = createKubeClient({ ...bootstrap, userAgent: 'berth-join' });
  let config: NodeConfig;
  try {
    const never = new AbortController().signal;
    await checkNodeNameIsFree({ nodeName, nodeIps: [nodeIp] }, { client, clock: systemClock, signal: never });
    config = await readNodeConfig(client);
  } finally {
    await client.close();
  }
  const joined = {
    server: cluster.server,
    nodeName,
    ...(flags.nodeIp !== undefined && { nodeIp: flags.nodeIp }),
    dockerEndpoint: flags.dockerEndpoint,
    clusterCidr: config.clusterCidr,
    serviceCidr: config.serviceCidr,
    ...overlayOf(flags, config, paths),
  };
  mkdirSync(flags.rootDir, { recursive: true, mode: 0o750 });
  await writeJoined(paths, joined);
  if (joined.netConfigPath === paths.netConf) writeFileSync(paths.netConf, config.netConf ?? '', { mode: 0o644 });
  mkdirSync(dirname(paths.ca), { recursive: true, mode: 0o700 });
  writeFileSync(paths.ca, cluster.caPem, { mode: 0o644 });
  writeFileSync(paths.config, configForHost(config, paths.ca), { mode: 0o600 });
  writeFileSync(paths.bootstrapKubeconfig, renderKubeconfig({ ...bootstrap, userName: 'bootstrap' }), { mode: 0o600 });
  try {
    await startNode(paths, nodeArguments(paths, joined));
    await steps.run(`node ${nodeName} is Ready`, () => waitUntilReady(paths, nodeName));
  } catch (error) {
    const log = await nodeLogEnd(paths, 8);
    await stopNode(paths);
    throw new UserError(
      `${(error as Error).message}. ${log}\nThe daemon is stopped; 'berth leave' removes what it made.`,
    );
  }
  // Its token is worth nothing to the node any more, and may be worth something to others.
  rmSync(paths.bootstrapKubeconfig, { force: true });
  for (const problem of await whatNodesMayNot(paths.kubeconfig)) steps.say(problem);
  steps.say(
    `This host is node ${nodeName} of ${cluster.server}. 'kubectl get nodes' there shows it; 'berth leave' here undoes it.`,
  );
}

/** What the flags say, else what the cluster says. @throws UserError, ExplainedError for what is wrong with it. */
function overlayOf(flags: JoinFlags, config: NodeConfig, paths: JoinPaths) {
  const isTold = flags.overlayBackend !== undefined || flags.netConfigPath !== undefined;
  const said = isTold
    ? flags
    : { overlayBackend: config.overlayBackend, netConfigPath: config.netConf && paths.netConf };
  const { overlayBackend, netConfigPath } = said;
  if (isTold && overlayBackend !== 'none')
    readOverlaySource({ backend: overlayBackend, netConfigPath, clusterCidr: config.clusterCidr }, () => {});
  return { ...(overlayBackend && { overlayBackend }), ...(netConfigPath && { netConfigPath }) };
}

function checkFlags({ server, token, caHash = [], unsafeSkipCaVerification }: JoinFlags) {
  const parsed = parseBootstrapToken(token);
  if (!parsed) throw new UserError('--token: expected a bootstrap token such as abcdef.0123456789abcdef', 2);
  const url = URL.parse(/^https?:\/\//.test(server) ? server : `https://${server}`);
  if (url?.protocol !== 'https:')
    throw new UserError(`--server ${server}: expected an HTTPS address such as https://192.0.2.1:6443`, 2);
  const wrong = caHash.find((hash) => !/^sha256:[0-9a-f]{64}$/.test(hash));
  if (wrong !== undefined) throw new UserError(`--ca-hash ${wrong}: expected sha256: and 64 hexadecimal digits`, 2);
  if (caHash.length === 0 && !unsafeSkipCaVerification)
    throw new UserError(
      "join needs --ca-hash sha256:…, which 'berth token create' prints on the cluster's host; --unsafe-skip-ca-verification trusts whoever knows the token",
      2,
    );
  return { server: url.origin, token: parsed, caHashes: caHash };
}

async function discover(asked: Parameters<typeof discoverCluster>[0]) {
  const deadline = performance.now() + SIGNING_TIMEOUT_MS;
  for (;;)
    try {
      const { caPem } = await discoverCluster(asked);
      // The address that the person typed: the one that the cluster has of itself may not lead there from here.
      return { server: asked.server, caPem };
    } catch (error) {
      if (!(error instanceof DiscoveryError)) throw error;
      if (!(error instanceof UnknownTokenError) || performance.now() > deadline) throw new UserError(error.message);
      await sleep(SIGNING_POLL_MS);
    }
}

async function waitUntilReady(paths: JoinPaths, nodeName: string): Promise<void> {
  const deadline = performance.now() + READY_TIMEOUT_MS;
  let client: KubeClient | undefined;
  try {
    for (;;) {
      if (!(await nodeRuns(paths))) throw new Error('the node daemon has ended');
      if (performance.now() > deadline) throw new Error('the node did not become Ready');
      if (!client && existsSync(paths.kubeconfig))
        client = createKubeClient(loadKubeconfig(paths.kubeconfig, { userAgent: 'berth-join' }));
      const node = await client?.get(nodes, { name: nodeName }).catch(() => undefined);
      if (node?.status?.conditions?.some(({ type, status }) => type === 'Ready' && status === 'True')) return;
      await sleep(POLL_MS);
    }
  } finally {
    await client?.close();
  }
}
