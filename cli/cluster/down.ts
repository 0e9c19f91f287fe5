import { readdirSync, rmdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { kubeletConfiguration } from '../../agent/config/kubelet-configuration.ts';
import { LABEL } from '../../agent/containers/identity.ts';
import { createLogLinks } from '../../agent/containers/log-links.ts';
import { readHostFacts } from '../../agent/node/host-facts.ts';
import { createPodDirectories } from '../../agent/volumes/pod-directories.ts';
import { createNodeNetwork } from '../../cni/node/node-network.ts';
import { removeProxyRules } from '../../proxy/iptables/cleanup.ts';
import { loadConfig } from '../../src/config/load.ts';
import { connectDocker } from '../../src/docker/connect.ts';
import type { DockerEngine } from '../../src/docker/engine.ts';
import { run } from '../../src/linux/exec.ts';
import { readMounts, unmount } from '../../src/linux/mounts.ts';
import { createIptables } from '../../src/netfilter/iptables.ts';
import { systemClock } from '../../src/runtime/clock.ts';
import { silentLogger } from '../../src/runtime/log.ts';
import { runAll } from '../../src/runtime/run-all.ts';
import { stopDaemon } from '../daemon/launch.ts';
import { createPrivateEngine } from '../engine/private-engine.ts';
import { createSteps } from '../output/steps.ts';
import { checkRoot } from '../preflight/checks.ts';
import { computeNodeShares, openPodResources } from '../roots/node-resources.ts';
import { engineEndpoint, pathsOf, type Settings } from '../settings.ts';
import { knownCluster } from './known-cluster.ts';

/** Containers get SIGTERM and this long; whoever wants more says `kubectl delete` first. */
const CONTAINER_GRACE_SECONDS = 2;

/**
 * `berth down`: takes away everything that `up` and the pods brought onto the host. Data stays until `--purge`.
 * Goes on after a failure and reports all of them together; saying it again continues where it stopped.
 */
export async function down(options: { rootDir: string; purge?: boolean }): Promise<void> {
  checkRoot('down');
  const settings = knownCluster(options.rootDir);
  const steps = createSteps();
  let modulesLeft: string[] = [];
  await runAll('berth down', [
    () => steps.run('daemon stopped', () => stopDaemon(settings)),
    () => steps.run('pods removed', () => removePods(settings)),
    () => steps.run('service rules removed', removeRules),
    () =>
      steps.run('pod network removed, sysctls restored', async () => {
        ({ modulesLeft } = await nodeNetwork(settings).remove());
        rmSync(settings.cniDataDir, { recursive: true, force: true });
      }),
    () => steps.run('run files removed', () => removeRunFiles(settings)),
    ...(options.purge ? [() => steps.run('data removed', () => purge(settings))] : []),
  ]);
  if (modulesLeft.length > 0) steps.say(`Kernel modules that Berth loaded stay: ${modulesLeft.join(', ')}.`);
  steps.say(
    options.purge
      ? 'Nothing of the cluster is left.'
      : `The cluster is down. Its data stays in ${settings.rootDir}; 'berth down --purge' removes that too.`,
  );
}

async function removePods(settings: Settings): Promise<void> {
  const paths = pathsOf(settings);
  const own = settings.dockerEndpoint === undefined;
  // A dead Engine of ours may have living containers (live-restore): only it can remove them.
  const engine = own ? createPrivateEngine({ paths, clock: systemClock, log: silentLogger }) : undefined;
  await engine?.ensure();
  const docker = connectDocker(engineEndpoint(settings));
  try {
    await removeContainers(docker, settings.nodeName);
    const directories = createPodDirectories(paths.kubelet);
    for (const uid of await directories.list()) await directories.remove(uid);
    await removeCgroups(settings, docker);
    const links = createLogLinks({
      pods: settings.podLogsDir,
      containers: settings.podLogsDir.replace(/pods$/, 'containers'),
      dockerRoot: '',
    });
    await links.collect(new Set());
  } finally {
    docker.close();
  }
  await engine?.stop();
  if (own) await unmountBelow([paths.engineExec, paths.engineData]);
}

async function removeContainers(docker: DockerEngine, nodeName: string): Promise<void> {
  const labels = [`${LABEL.node}=${nodeName}`];
  const isSandbox = (labels: Record<string, string>) => labels[LABEL.dockerType] === 'podsandbox';
  const all = await docker.listContainers({ labels });
  const apps = all.filter((container) => !isSandbox(container.labels));
  await Promise.all(
    apps
      .filter((container) => container.state === 'running')
      .map((container) => docker.stopContainer(container.id, CONTAINER_GRACE_SECONDS)),
  );
  // Sandboxes last: their namespaces hold the others'.
  for (const group of [apps, all.filter((container) => isSandbox(container.labels))]) {
    await Promise.all(group.map((container) => docker.removeContainer(container.id, { force: true })));
  }
}

async function removeCgroups(settings: Settings, docker: DockerEngine): Promise<void> {
  const config = loadConfig(kubeletConfiguration, {
    flags: [{ flag: '--cgroup-root', field: 'cgroupRoot', value: settings.cgroupRoot }],
  });
  const shares = computeNodeShares(config, await readHostFacts(settings.rootDir));
  const resources = await openPodResources(config, shares, await docker.info());
  await resources.removeAll();
}

async function removeRules(): Promise<void> {
  await runAll(
    'service rules',
    (['IPv4', 'IPv6'] as const).map((family) => () => removeProxyRules(createIptables({ family, run }))),
  );
}

function nodeNetwork(settings: Settings) {
  return createNodeNetwork(
    {
      clusterCidr: settings.podCidr,
      serviceCidr: settings.serviceCidr,
      bridge: settings.bridge,
      stateFile: pathsOf(settings).networkState,
    },
    { log: silentLogger, clock: systemClock },
  );
}

/** Docker leaves mounts of its namespaces and of its data root itself behind; the newest go first. */
async function unmountBelow(folders: string[]): Promise<void> {
  const points = readMounts()
    .map((mount) => mount.target)
    .filter((point) => folders.some((folder) => point === folder || point.startsWith(`${folder}/`)));
  for (const point of points.toReversed()) unmount(point, { lazy: true });
}

async function removeRunFiles(settings: Settings): Promise<void> {
  rmSync(settings.runDir, { recursive: true, force: true });
  for (const folder of [settings.podLogsDir, settings.podLogsDir.replace(/pods$/, 'containers')]) removeIfEmpty(folder);
}

async function purge(settings: Settings): Promise<void> {
  rmSync(settings.kubeconfig, { force: true });
  for (const folder of [settings.logDir, settings.rootDir]) {
    // Not the folder itself before its content: it may be a mount point, which stays.
    for (const entry of listOrNone(folder)) rmSync(join(folder, entry), { recursive: true, force: true });
    removeIfEmpty(folder);
  }
}

function listOrNone(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}

function removeIfEmpty(folder: string): void {
  try {
    rmdirSync(folder);
  } catch (error) {
    if (!['ENOENT', 'ENOTEMPTY', 'EBUSY'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error;
  }
}
