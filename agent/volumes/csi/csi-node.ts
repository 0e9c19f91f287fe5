import type { NodeInfo } from '../../../src/grpc/csi.ts';
import type { KubeClient } from '../../../src/kube/client.ts';
import { isAlreadyExists, isConflict, isNotFound } from '../../../src/kube/errors.ts';
import { csiNodes, nodes } from '../../../src/kube/resources.ts';
import type { CSINode, CSINodeDriver, Node } from '../../../src/kube/types.ts';
import { retry } from '../../../src/runtime/backoff.ts';
import type { Clock } from '../../../src/runtime/clock.ts';
import type { Logger } from '../../../src/runtime/log.ts';
import type { CsiNodeRecord } from './drivers.ts';

export interface CsiNodeKeeperDependencies {
  client: Pick<KubeClient, 'get' | 'create' | 'replace' | 'patch'>;
  clock: Clock;
  log: Logger;
}

const NODE_ID_ANNOTATION = 'csi.volume.kubernetes.io/nodeid';
const RETRY = { initialMs: 200, maxMs: 10_000, jitter: 0.5 };
const ATTEMPTS = 5;
/** Seldom: clusters have many nodes, and the object hardly ever changes. */
const LOOK_MS = 300_000;

/** The list with the driver in it; the same list when it says so already. Pure. */
export function withDriver(drivers: readonly CSINodeDriver[], name: string, info: NodeInfo): readonly CSINodeDriver[] {
  const topologyKeys = Object.keys(info.accessibleTopology?.segments ?? {}).sort();
  const wanted: CSINodeDriver = {
    name,
    nodeID: info.nodeId,
    topologyKeys,
    ...(info.maxVolumesPerNode > 0 && { allocatable: { count: info.maxVolumesPerNode } }),
  };
  const present = drivers.find((driver) => driver.name === name);
  const isSame =
    present?.nodeID === wanted.nodeID &&
    present.allocatable?.count === wanted.allocatable?.count &&
    [...(present.topologyKeys ?? [])].sort().join() === topologyKeys.join();
  return isSame ? drivers : [...drivers.filter((driver) => driver.name !== name), wanted];
}

/** This node's CSINode object, its annotation with the drivers' ids of it, and the labels of its place in their topology. */
export function createCsiNodeKeeper(nodeName: string, { client, clock, log }: CsiNodeKeeperDependencies) {
  /** What was told of drivers that are here. */
  const registered = new Map<string, NodeInfo>();

  async function write(change: (drivers: readonly CSINodeDriver[]) => readonly CSINodeDriver[]): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      try {
        const existing = await find();
        const drivers = change(existing?.spec.drivers ?? []);
        if (!existing) await create(drivers);
        else if (drivers !== existing.spec.drivers)
          await client.replace(csiNodes, { ...existing, spec: { drivers: [...drivers] } });
        return;
      } catch (error) {
        if (attempt === ATTEMPTS || !(isConflict(error) || isAlreadyExists(error))) throw error;
      }
    }
  }

  async function find(): Promise<CSINode | undefined> {
    try {
      return await client.get(csiNodes, { name: nodeName });
    } catch (error) {
      if (isNotFound(error)) return undefined;
      throw error;
    }
  }

  async function create(drivers: readonly CSINodeDriver[]): Promise<void> {
    const { uid } = (await client.get(nodes, { name: nodeName })).metadata;
    const ownerReferences = [{ apiVersion: 'v1', kind: 'Node', name: nodeName, uid }];
    await client.create(csiNodes, { metadata: { name: nodeName, ownerReferences }, spec: { drivers: [...drivers] } });
  }

  function withRegistered(drivers: readonly CSINodeDriver[]): readonly CSINodeDriver[] {
    return [...registered].reduce((list, [name, info]) => withDriver(list, name, info), drivers);
  }

  async function annotate(driver: string, info: NodeInfo | undefined): Promise<void> {
    const node = await client.get(nodes, { name: nodeName });
    const ids = parseIds(node);
    const labels = info?.accessibleTopology?.segments ?? {};
    const isRight =
      ids[driver] === info?.nodeId &&
      Object.entries(labels).every(([key, value]) => node.metadata.labels?.[key] === value);
    if (isRight) return;
    const { [driver]: _, ...others } = ids;
    const next = info ? { ...others, [driver]: info.nodeId } : others;
    const annotation = Object.keys(next).length > 0 ? JSON.stringify(next) : null;
    const patch = { metadata: { annotations: { [NODE_ID_ANNOTATION]: annotation }, labels } };
    await client.patch(nodes, { name: nodeName, type: 'merge', patch });
  }

  const record: CsiNodeRecord = {
    async add(driver, info) {
      await annotate(driver, info);
      await write((drivers) => withDriver(drivers, driver, info));
      registered.set(driver, info);
    },
    async remove(driver) {
      registered.delete(driver);
      await write((drivers) =>
        drivers.some(({ name }) => name === driver) ? drivers.filter(({ name }) => name !== driver) : drivers,
      );
      await annotate(driver, undefined);
    },
  };

  return {
    record,
    /**
     * Sees to it that the object exists, also without any driver: schedulers tell by it that the node is known. It goes
     * with its Node, and comes back when somebody has deleted that.
     */
    async run(signal: AbortSignal): Promise<void> {
      const onFailure = (error: unknown, retryMs: number) =>
        log.debug({ err: error, retryMs }, 'the CSINode object could not be made yet');
      try {
        while (!signal.aborted) {
          await retry(() => write(withRegistered), { ...RETRY, clock, signal, onFailure });
          await clock.sleep(LOOK_MS, signal);
        }
      } catch (error) {
        if (!signal.aborted) throw error;
      }
    },
  };
}

function parseIds({ metadata }: Node): Record<string, string> {
  try {
    return JSON.parse(metadata.annotations?.[NODE_ID_ANNOTATION] ?? '{}');
  } catch {
    // Somebody's typing error; ours is written over it.
    return {};
  }
}
