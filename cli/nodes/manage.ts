import { setTimeout as sleep } from 'node:timers/promises';
import type { KubeClient } from '../../src/kube/client.ts';
import { isNotFound } from '../../src/kube/errors.ts';
import { nodes } from '../../src/kube/resources.ts';
import { removeTree } from '../../src/linux/remove-tree.ts';
import { runAll } from '../../src/runtime/run-all.ts';
import { adminClient } from '../cluster/admin-client.ts';
import { knownCluster } from '../cluster/known-cluster.ts';
import { pauseBeforeLookMs } from '../cluster/look-again.ts';
import { daemonPid } from '../daemon/launch.ts';
import { lastLines } from '../engine/private-engine.ts';
import { UserError } from '../output/failure.ts';
import { createSteps } from '../output/steps.ts';
import { renderTable } from '../output/table.ts';
import { checkRoot } from '../preflight/checks.ts';
import type { Settings } from '../settings.ts';
import { nodeName } from '../settings-from-flags.ts';
import { keeperLives, keeperPid, keeperStartedMs, startKeepers, stopKeeper } from './keepers.ts';
import { whileNodesRest } from './locks.ts';
import { type NodeRecord, nodePathsOf, planRecords, readRecords, writeRecord } from './records.ts';
import { removeSwitch, setCable } from './switch.ts';

const READY_TIMEOUT_MS = 120_000;
const POLL_MS = 100;

interface ClusterFlags {
  rootDir: string;
}

/** Records that the cluster has `total` nodes at least, this machine among them, and tells which of them are to be started. */
export async function planNodes(settings: Settings, total: number): Promise<NodeRecord[]> {
  return whileNodesRest(settings, async () => {
    const existing = readRecords(settings);
    const planned = planRecords(settings, existing, { count: Math.max(0, total - 1 - existing.length) });
    for (const record of planned) await writeRecord(settings, record);
    return [...existing, ...planned].filter(({ name, runs }) => runs && !keeperLives(settings, name));
  });
}

/** `berth node add [NAME]`: one more node of this machine, and waits until it is Ready. */
export async function addNode(name: string | undefined, flags: ClusterFlags): Promise<void> {
  checkRoot('node add');
  const settings = knownCluster(flags.rootDir);
  const wanted = name === undefined ? undefined : nodeName(name, 'node add');
  await startAndWait(settings, () => {
    const [record] = planRecords(settings, readRecords(settings), { count: 1, name: wanted });
    return record!;
  });
}

/** `berth node start NAME`: power on. */
export async function startNode(name: string, flags: ClusterFlags): Promise<void> {
  checkRoot('node start');
  const settings = knownCluster(flags.rootDir);
  await startAndWait(settings, () => ({ ...recordOf(settings, name), runs: true }));
}

/** `berth node stop NAME`: power off, at once and without a word to the cluster. Its disk stays. */
export async function stopNode(name: string, flags: ClusterFlags): Promise<void> {
  checkRoot('node stop');
  const settings = knownCluster(flags.rootDir);
  await whileNodesRest(settings, async () => {
    await writeRecord(settings, { ...recordOf(settings, name), runs: false });
    await createSteps().run(`node ${name} stopped`, () => stopKeeper(settings, name));
  });
}

/** `berth node partition|heal NAME`: the cable out, or in again. */
export async function setPartitioned(name: string, partitioned: boolean, flags: ClusterFlags): Promise<void> {
  checkRoot(partitioned ? 'node partition' : 'node heal');
  const settings = knownCluster(flags.rootDir);
  const runs = await whileNodesRest(settings, async () => {
    const record = recordOf(settings, name);
    await writeRecord(settings, { ...record, partitioned });
    if (keeperPid(settings, name) === undefined) return false;
    await setCable(settings, record.address, !partitioned);
    return true;
  });
  createSteps().say(sayCable(name, { partitioned, runs }));
}

function sayCable(name: string, { partitioned, runs }: { partitioned: boolean; runs: boolean }): string {
  if (!runs) return `Node ${name} is off; its cable is ${partitioned ? 'out' : 'in'} when it starts.`;
  if (!partitioned) return `Node ${name} is connected.`;
  return `Node ${name} is cut off: it runs on, and the cluster does not hear of it. 'berth node heal ${name}' ends that.`;
}

/** `berth node remove NAME`: the node, its disk and its Node object. Saying it again continues where it stopped. */
export async function removeNode(name: string, flags: ClusterFlags): Promise<void> {
  checkRoot('node remove');
  const settings = knownCluster(flags.rootDir);
  const steps = createSteps();
  await whileNodesRest(settings, async () => {
    recordOf(settings, name);
    await runAll(`berth node remove ${name}`, [
      () => steps.run(`node ${name} stopped`, () => stopKeeper(settings, name)),
      () => steps.run('Node object deleted', () => withClient(settings, (client) => deleteNodeObject(client, name))),
    ]);
    await steps.run('disk removed', () => removeTree(nodePathsOf(settings, name).folder));
  });
}

/** `berth node list`. */
export function listNodes(flags: ClusterFlags & { output?: string }): void {
  const settings = knownCluster(flags.rootDir);
  const rows = readRecords(settings).map((record) => ({
    ...record,
    state: stateOf(settings, record),
    dockerEndpoint: `unix://${nodePathsOf(settings, record.name).engineSocket}`,
  }));
  if (flags.output === 'json') return void process.stdout.write(`${JSON.stringify(rows, null, 2)}\n`);
  if (flags.output !== undefined) throw new UserError(`-o ${flags.output}: json`, 2);
  if (rows.length === 0)
    return void process.stdout.write("This machine is the cluster's only node here; 'berth node add' makes another.\n");
  const cells = rows.map(({ name, address, state, dockerEndpoint }) => [name, address, state, dockerEndpoint]);
  process.stdout.write(`${renderTable(['NAME', 'ADDRESS', 'STATE', 'ENGINE'], cells)}\n`);
}

/** For `berth down`: no node of this machine runs any more, and nothing of them is on the network. Their disks stay. */
export async function stopAllNodes(settings: Settings): Promise<void> {
  if (readRecords(settings).length > 0)
    await whileNodesRest(settings, () =>
      Promise.all(readRecords(settings).map(({ name }) => stopKeeper(settings, name))),
    );
  await removeSwitch(settings);
}

/**
 * @param startedMs wall time before they were started
 * @throws UserError that says how the log of one ends that does not become Ready.
 */
export async function waitForNodes(
  settings: Settings,
  records: readonly NodeRecord[],
  startedMs: number,
): Promise<void> {
  await withClient(settings, (client) =>
    Promise.all(records.map((record) => waitUntilReady(settings, client, record, startedMs))),
  );
}

function stateOf(settings: Settings, record: NodeRecord): string {
  if (keeperPid(settings, record.name) === undefined) return record.runs ? 'starts with the cluster' : 'stopped';
  return record.partitioned ? 'partitioned' : 'runs';
}

function recordOf(settings: Settings, name: string): NodeRecord {
  const record = readRecords(settings).find((one) => one.name === name);
  if (record) return record;
  if (name === settings.nodeName)
    throw new UserError(`${name} is this machine itself: 'berth down' and 'berth up' are for that`);
  throw new UserError(`there is no node ${name} on this machine: 'berth node list' shows them`);
}

/** Records the node, starts it (one that runs already is only waited for), and waits until it is Ready. */
async function startAndWait(settings: Settings, plan: () => NodeRecord): Promise<void> {
  const { record, startedMs } = await whileNodesRest(settings, async () => {
    // Not before: `berth down` may have had the lock.
    if (daemonPid(settings) === undefined) throw new UserError("the cluster does not run: 'berth up' starts it");
    const record = plan();
    await writeRecord(settings, record);
    const startedMs = keeperStartedMs(settings, record.name) ?? Date.now();
    await startKeepers(settings);
    return { record, startedMs };
  });
  await createSteps().run(`node ${record.name} is Ready`, () => waitForNodes(settings, [record], startedMs));
}

async function waitUntilReady(
  settings: Settings,
  client: KubeClient,
  { name }: NodeRecord,
  startedMs: number,
): Promise<void> {
  const { log } = nodePathsOf(settings, name);
  const deadline = performance.now() + READY_TIMEOUT_MS;
  let seen = false;
  for (;;) {
    const askedMs = performance.now();
    const node = await client.get(nodes, { name }).catch(() => undefined);
    const ready = node?.status?.conditions?.find(({ type }) => type === 'Ready');
    // The store remembers the node of an earlier run; only a word of this one counts. Times are whole seconds.
    const isFresh = Date.parse(ready?.lastHeartbeatTime ?? '') >= Math.floor(startedMs / 1000) * 1000;
    if (ready?.status === 'True' && isFresh) return;
    // The daemon starts it within its first moments.
    seen ||= keeperLives(settings, name);
    if (performance.now() > deadline || (seen && !keeperLives(settings, name)))
      throw new UserError(
        `node ${name} did not become Ready: ${ready?.message ?? 'it has not been heard of'}. The end of ${log}:\n${lastLines(log, 8)}`,
      );
    await sleep(pauseBeforeLookMs(performance.now() - askedMs, POLL_MS));
  }
}

async function deleteNodeObject(client: KubeClient, name: string): Promise<void> {
  try {
    await client.delete(nodes, { name });
  } catch (error) {
    if (!isNotFound(error)) throw error;
  }
}

async function withClient<T>(settings: Settings, work: (client: KubeClient) => Promise<T>): Promise<T> {
  const client = adminClient(settings);
  if (!client) throw new UserError(`there is no ${settings.kubeconfig}: 'berth up' writes it`);
  try {
    return await work(client);
  } finally {
    await client.close();
  }
}
