import { setTimeout as sleep } from 'node:timers/promises';
import type { KubeClient } from '../../src/kube/client.ts';
import { nodes } from '../../src/kube/resources.ts';
import { daemonLogEnd, daemonPid, startDaemon } from '../daemon/launch.ts';
import { lastLines } from '../engine/private-engine.ts';
import { buildImage } from '../images/build.ts';
import { recipes } from '../images/catalog.ts';
import { startKeepers } from '../nodes/keepers.ts';
import { planNodes, waitForNodes } from '../nodes/manage.ts';
import type { NodeRecord } from '../nodes/records.ts';
import { UserError } from '../output/failure.ts';
import { createSteps, type Steps } from '../output/steps.ts';
import { checkHost, checkRoot } from '../preflight/checks.ts';
import { pathsOf, readSettings, type Settings, writeSettings } from '../settings.ts';
import { checkOverlayIsKept, settingsFromFlags, type UpFlags } from '../settings-from-flags.ts';
import { adminClient } from './admin-client.ts';
import { dnsReadyAddress, probeHttp } from './health-probe.ts';
import { imagesFolder } from './images-folder.ts';
import { pauseBeforeLookMs } from './look-again.ts';

const READY_TIMEOUT_MS = 120_000;
const DNS_TIMEOUT_MS = 30_000;
const POLL_MS = 50;
/** Each has an Engine of its own: more would not be a try any more. */
const MOST_NODES = 20;

/** Brings the cluster up, or says that it runs. Nothing is changed before every check has passed. */
export async function up(flags: UpFlags): Promise<void> {
  checkRoot('up');
  const steps = createSteps();
  const previous = readSettings(flags.rootDir);
  const running = previous && daemonPid(previous);
  const nodesWanted = nodeCount(flags.nodes);
  if (previous && running !== undefined) {
    checkOverlayIsKept(flags, previous);
    sayItRuns(previous, running);
    const further = await planNodes(previous, nodesWanted);
    const startedMs = Date.now();
    await startKeepers(previous);
    return waitForFurtherNodes(steps, previous, further, startedMs);
  }

  const settings = await settingsFromFlags(flags, previous);
  await checkHost(settings);
  writeSettings(settings);
  const pause = recipes.find((recipe) => recipe.name === settings.pauseImage);
  if (pause) await steps.run('pause image', () => buildImage(pause, imagesFolder()));
  const started = performance.now();
  const startedMs = Date.now();
  const further = await planNodes(settings, nodesWanted);
  await startDaemon(settings);
  await steps.run(`node ${settings.nodeName} is Ready`, () => waitForNode(settings, startedMs));
  await steps.run('cluster DNS answers', () => waitForDns(settings));
  await waitForFurtherNodes(steps, settings, further, startedMs);
  sayWhatIsThere(settings, steps, (performance.now() - started) / 1000);
}

function nodeCount(text: string): number {
  const count = Number(text);
  if (!Number.isInteger(count) || count < 1 || count > MOST_NODES)
    throw new UserError(`--nodes ${text}: must be a whole number, 1 to ${MOST_NODES}`, 2);
  return count;
}

async function waitForFurtherNodes(
  steps: Steps,
  settings: Settings,
  further: readonly NodeRecord[],
  startedMs: number,
): Promise<void> {
  if (further.length === 0) return;
  const names = further.map(({ name }) => name).join(', ');
  await steps.run(`${names} ${further.length > 1 ? 'are' : 'is'} Ready`, () =>
    waitForNodes(settings, further, startedMs),
  );
}

async function waitForNode(settings: Settings, startedMs: number): Promise<void> {
  const deadline = performance.now() + READY_TIMEOUT_MS;
  let client: KubeClient | undefined;
  let seen = false;
  let last = 'the API server does not answer yet';
  try {
    for (;;) {
      const lookedMs = performance.now();
      const alive = daemonPid(settings) !== undefined;
      seen ||= alive;
      const ended = seen && !alive;
      if (ended || performance.now() > deadline) {
        throw new UserError(
          `the node did not become Ready: ${ended ? 'the daemon ended' : last}. ${await daemonLogEnd(settings, 8)}`,
        );
      }
      client ??= adminClient(settings);
      if (client) {
        const state = await readiness(client, settings.nodeName, startedMs);
        if (state === true) return;
        last = state;
      }
      await sleep(pauseBeforeLookMs(performance.now() - lookedMs, POLL_MS));
    }
  } finally {
    await client?.close();
  }
}

async function waitForDns(settings: Settings): Promise<void> {
  const deadline = performance.now() + DNS_TIMEOUT_MS;
  for (;;) {
    const { healthy, detail } = await probeHttp(dnsReadyAddress(settings));
    if (healthy) return;
    if (performance.now() > deadline) {
      const log = pathsOf(settings).dnsLog;
      throw new UserError(
        `the cluster's DNS server does not answer: ${detail}. The end of ${log}:\n${lastLines(log, 8)}`,
      );
    }
    await sleep(POLL_MS);
  }
}

async function readiness(client: KubeClient, name: string, startedMs: number): Promise<true | string> {
  try {
    const node = await client.get(nodes, { name, signal: AbortSignal.timeout(2000) });
    const ready = node.status?.conditions?.find((condition) => condition.type === 'Ready');
    // The store remembers the node of an earlier run; only a word of this run's agent counts. Times are whole seconds.
    const isFresh = Date.parse(ready?.lastHeartbeatTime ?? '') >= Math.floor(startedMs / 1000) * 1000;
    if (ready?.status === 'True' && isFresh) return true;
    return ready && isFresh ? `${ready.reason}: ${ready.message}` : 'the node has no Ready condition yet';
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

function sayItRuns(settings: Settings, pid: number): void {
  process.stdout.write(
    `Berth already runs here (pid ${pid}, node ${settings.nodeName}). 'berth status' shows it; 'berth down' removes it.\n`,
  );
}

function sayWhatIsThere(settings: Settings, steps: Steps, seconds: number): void {
  const root = settings.rootDir === '/var/lib/berth' ? '' : ` --root-dir ${settings.rootDir}`;
  steps.say(
    `\nThe cluster is up after ${seconds.toFixed(1)} s. Its kubeconfig is ${settings.kubeconfig}. Worth trying:\n`,
  );
  process.stdout.write(`  ./berth kubectl${root} get nodes -o wide\n  ./berth demo${root}\n  ./berth status${root}\n`);
}
