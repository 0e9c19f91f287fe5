import { lstatSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { readMounts, unmount } from '../../src/linux/mounts.ts';
import { removeTree } from '../../src/linux/remove-tree.ts';
import { systemClock } from '../../src/runtime/clock.ts';
import { silentLogger } from '../../src/runtime/log.ts';
import { runAll } from '../../src/runtime/run-all.ts';
import { stopDaemon } from '../daemon/launch.ts';
import { processesWith, signalProcess, stopProcess } from '../daemon/pid-file.ts';
import { createPrivateEngine } from '../engine/private-engine.ts';
import { stopAllNodes } from '../nodes/manage.ts';
import { createSteps } from '../output/steps.ts';
import { checkRoot } from '../preflight/checks.ts';
import { removeServiceRules } from '../roots/service-rules.ts';
import { nodePlaces, pathsOf, type Settings } from '../settings.ts';
import { knownCluster } from './known-cluster.ts';
import { removeIfEmpty, removeNetwork, removePods } from './remove-node.ts';

/** Queries that wait for other servers are answered first. */
const DNS_STOP_TIMEOUT_MS = 5000;

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
    () => steps.run('further nodes of this machine stopped', () => stopAllNodes(settings)),
    () => steps.run('DNS server stopped', () => stopDns(settings)),
    () => steps.run('pods removed', () => removePodsAndEngine(settings)),
    () => steps.run('service rules removed', () => removeServiceRules()),
    () =>
      steps.run('pod network removed, sysctls restored', async () => {
        ({ modulesLeft } = await removeNetwork(nodePlaces(settings)));
      }),
    () => rmSync(settings.runDir, { recursive: true, force: true }),
    ...(options.purge ? [() => steps.run('data removed', () => purge(settings))] : []),
  ]);
  if (modulesLeft.length > 0) steps.say(`Kernel modules that Berth loaded stay: ${modulesLeft.join(', ')}.`);
  steps.say(
    options.purge
      ? 'Nothing of the cluster is left.'
      : `The cluster is down. Its data stays in ${settings.rootDir}; 'berth down --purge' removes that too.`,
  );
}

/** Also one that was just starting, or one that a killed daemon had begun to replace. */
async function stopDns(settings: Settings): Promise<void> {
  const { dnsPid } = pathsOf(settings);
  await stopProcess(dnsPid, dnsPid, DNS_STOP_TIMEOUT_MS);
  for (const pid of processesWith(dnsPid)) signalProcess(pid, 'SIGKILL');
}

async function removePodsAndEngine(settings: Settings): Promise<void> {
  const paths = pathsOf(settings);
  const own = settings.dockerEndpoint === undefined;
  // A dead Engine of ours may have living containers (live-restore): only it can remove them.
  const engine = own ? createPrivateEngine({ paths, clock: systemClock, log: silentLogger }) : undefined;
  await engine?.ensure();
  await removePods(nodePlaces(settings));
  await engine?.stop();
  if (own) unmountBelow([paths.engineExec, paths.engineData]);
}

/** Docker leaves mounts of its namespaces and of its data root itself behind; the newest go first. */
function unmountBelow(folders: string[]): void {
  const points = readMounts()
    .map((mount) => mount.target)
    .filter((point) => folders.some((folder) => point === folder || point.startsWith(`${folder}/`)));
  for (const point of points.toReversed()) unmount(point, { lazy: true });
}

/** Nothing is deleted through a mount: somebody's data may be behind it. */
async function purge(settings: Settings): Promise<void> {
  rmSync(settings.kubeconfig, { force: true });
  for (const folder of [settings.logDir, settings.rootDir]) {
    // Not the folder itself before its content: it may be a mount point, which stays.
    for (const entry of listOrNone(folder)) await remove(join(folder, entry));
    removeIfEmpty(folder);
  }
}

async function remove(path: string): Promise<void> {
  if (lstatSync(path).isDirectory()) await removeTree(path);
  else rmSync(path);
}

function listOrNone(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}
