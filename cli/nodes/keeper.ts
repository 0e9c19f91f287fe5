import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createWriteStream, existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { connectDocker } from '../../src/docker/connect.ts';
import type { Clock } from '../../src/runtime/clock.ts';
import type { Logger } from '../../src/runtime/log.ts';
import { imagesFolder } from '../cluster/images-folder.ts';
import { renderNodeConfig } from '../cluster/node-config.ts';
import { nodeKubeconfig } from '../cluster/node-kubeconfig.ts';
import { CHECKOUT } from '../daemon/launch.ts';
import { writePidFile } from '../daemon/pid-file.ts';
import { enginePings } from '../engine/ping.ts';
import { installPodRuntime } from '../engine/pod-runtime.ts';
import { POD_RUNTIME_NAME } from '../engine/pod-runtime-script.ts';
import { createHost, type Host } from '../hosts/host.ts';
import { recipes } from '../images/catalog.ts';
import { ensureImage } from '../images/load.ts';
import { UserError } from '../output/failure.ts';
import type { Settings } from '../settings.ts';
import { keepAlone } from './locks.ts';
import { cgroupBranchOf, NODE_ENGINE_SOCKET, nodePathsOf, prefix6Beside, readRecords } from './records.ts';
import { plugIn } from './switch.ts';

/** Beside the Engine's data: what a node finds again after it was stopped. */
const KEPT = ['var/lib/berth-node', 'var/lib/cni', 'var/log'];
const CREDENTIALS = '/etc/berth';
const POD_RUNTIME = '/var/lib/docker/berth-runtime';
const ENGINE_CONFIG = '/run/berth-daemon.json';
const ENGINE_TIMEOUT_MS = 60_000;
const RESTART_MS = 1000;
const POLL_MS = 20;

/**
 * Keeps one further node of this machine: its host (namespaces, a disk, a cable to the switch), and in it a Docker Engine and `berth
 * node`, which are started again when they end. The node lives exactly as long as this process: when that is killed, the node is a
 * machine without power.
 */
export async function keepNode(
  settings: Settings,
  name: string,
  context: { clock: Clock; log: Logger },
  signal: AbortSignal,
): Promise<void> {
  const record = readRecords(settings).find((one) => one.name === name);
  if (!record) throw new UserError(`there is no node ${name}: 'berth node list' shows the nodes of this machine`);
  const { clock } = context;
  const log = context.log.child({ node: name });
  const paths = nodePathsOf(settings, name);
  // Two commands may start a node at once, or one that the daemon just starts: the first keeps it.
  if (!keepAlone(settings, name)) return void log.info('another process keeps this node already');
  writePidFile(paths.pid, process.pid);
  const host = await createHost(name, { folder: paths.disk, kept: KEPT, cgroupBranch: cgroupBranchOf(name) });
  try {
    await plugIn(settings, record, host.initPid);
    const again = (what: string, start: () => ChildProcess | Promise<ChildProcess>) =>
      supervise({ what, start, clock, log, signal });
    const node = async () => {
      await prepareImages(host, settings, clock, signal);
      // On a first `up` the machine's own part may still be making the cluster's certificates.
      while (!existsSync(settings.kubeconfig)) await clock.sleep(POLL_MS, signal);
      await writeCredentials(host, settings, name, record.address);
      await again('berth node', () => startNode(host, settings, name, record.address));
    };
    await Promise.all([again('dockerd', () => startEngine(host)), node()]);
  } catch (error) {
    if (!signal.aborted) throw explainDisk(error, paths.disk);
  } finally {
    await host.close();
    rmSync(paths.pid, { force: true });
  }
}

/** A disk that takes nothing is its owner's to mend; anything else is told as it is. */
function explainDisk(error: unknown, disk: string): unknown {
  const { code, message } = error as NodeJS.ErrnoException;
  if (!['ENOSPC', 'EDQUOT', 'EROFS'].includes(code ?? '')) return error;
  return new UserError(`the node's disk ${disk} can't be written: ${message}`);
}

/** Starts a program again whenever it ends, at most once a second. Rejects when aborted; the program dies with its host. */
async function supervise(options: {
  what: string;
  start: () => ChildProcess | Promise<ChildProcess>;
  clock: Clock;
  log: Logger;
  signal: AbortSignal;
}): Promise<void> {
  const { what, start, clock, log, signal } = options;
  while (!signal.aborted) {
    const startedMs = clock.monotonicMs();
    const [code] = await once(await start(), 'exit', { signal });
    log.warn({ what, code }, 'has ended; starting it again');
    await clock.sleep(Math.max(0, RESTART_MS - (clock.monotonicMs() - startedMs)), signal);
  }
}

/** What the program says goes to a file on the node's disk; nobody waits for what is lost at the end. */
function spawnLogged(host: Host, argv: string[], logFile: string): ChildProcess {
  const child = host.spawn(argv, { stdio: ['ignore', 'pipe', 'pipe'], cwd: CHECKOUT });
  mkdirSync(host.path('/var/log'), { recursive: true });
  const file = createWriteStream(host.path(logFile), { flags: 'a', mode: 0o640 });
  file.on('error', () => {});
  child.stdout?.pipe(file, { end: false });
  child.stderr?.pipe(file, { end: false });
  child.once('close', () => file.end());
  return child;
}

function startEngine(host: Host): ChildProcess {
  const problem = installPodRuntime(host.path(POD_RUNTIME));
  const network = ['--bridge=none', '--iptables=false', '--ip6tables=false', '--ip-masq=false', '--ip-forward=false'];
  const runtime = problem ? [] : [`--add-runtime=${POD_RUNTIME_NAME}=${POD_RUNTIME}`];
  // Empty: the machine's /etc/docker/daemon.json, which the host sees too, is another Docker's.
  writeFileSync(host.path(ENGINE_CONFIG), '{}\n');
  const argv = [
    'dockerd',
    '--config-file',
    ENGINE_CONFIG,
    '--host',
    `unix://${NODE_ENGINE_SOCKET}`,
    ...network,
    '--userland-proxy=false',
    '--live-restore',
  ];
  return spawnLogged(host, [...argv, '--log-level=warn', ...runtime], '/var/log/dockerd.log');
}

/** The pause image must be there before the first pod. */
async function prepareImages(host: Host, settings: Settings, clock: Clock, signal: AbortSignal): Promise<void> {
  const socket = nodePathsOf(settings, host.name).engineSocket;
  const deadlineMs = clock.monotonicMs() + ENGINE_TIMEOUT_MS;
  while (!(await enginePings(socket))) {
    if (clock.monotonicMs() > deadlineMs)
      throw new UserError(`the Docker Engine of node ${host.name} does not answer: see /var/log/dockerd.log there`);
    await clock.sleep(POLL_MS, signal);
  }
  const endpoint = `unix://${socket}`;
  const engine = connectDocker(endpoint);
  try {
    for (const recipe of recipes)
      if (recipe.name === settings.pauseImage) await ensureImage(engine, endpoint, recipe, imagesFolder());
  } finally {
    engine.close();
  }
}

async function writeCredentials(host: Host, settings: Settings, name: string, nodeIp: string): Promise<void> {
  mkdirSync(host.path(CREDENTIALS), { recursive: true, mode: 0o700 });
  const { rootDir } = settings;
  for (const identity of ['node', 'proxy', 'overlay'])
    writeFileSync(
      host.path(`${CREDENTIALS}/${identity}.kubeconfig`),
      await nodeKubeconfig({ rootDir, name, nodeIp, for: identity }),
      { mode: 0o600 },
    );
  writeFileSync(host.path(`${CREDENTIALS}/kubelet.yaml`), renderNodeConfig(settings), { mode: 0o600 });
}

function startNode(host: Host, settings: Settings, name: string, address: string): ChildProcess {
  const flags = {
    kubeconfig: `${CREDENTIALS}/node.kubeconfig`,
    'proxy-kubeconfig': `${CREDENTIALS}/proxy.kubeconfig`,
    'overlay-kubeconfig': `${CREDENTIALS}/overlay.kubeconfig`,
    config: `${CREDENTIALS}/kubelet.yaml`,
    'node-name': name,
    'node-ip': settings.nodeIp6 === undefined ? address : `${address},${prefix6Beside(address).split('/')[0]}`,
    'docker-endpoint': `unix://${NODE_ENGINE_SOCKET}`,
    'cluster-cidr': settings.podCidr,
    'service-cidr': settings.serviceCidr,
    'pod-infra-container-image': settings.pauseImage,
    'overlay-backend': settings.overlayBackend,
    'net-config-path': settings.netConfigPath,
    cni: settings.cni,
    'cni-conf-dir': settings.cniConfDir,
    'cni-bin-dir': settings.cniBinDir,
  };
  const argv = Object.entries(flags).flatMap(([flag, value]) => (value === undefined ? [] : [`--${flag}`, value]));
  return spawnLogged(host, [`${CHECKOUT}/berth`, 'node', ...argv], '/var/log/berth-node.log');
}
