import { isNetlinkError } from '../../src/linux/netlink/socket.ts';
import { NftBatch } from '../../src/netfilter/nfnetlink/batch.ts';
import { nextGeneration } from '../../src/netfilter/nfnetlink/generation.ts';
import { changesToTable, type NftMonitor, openNftMonitor } from '../../src/netfilter/nfnetlink/monitor.ts';
import type { NftSocket } from '../../src/netfilter/nfnetlink/socket.ts';
import { hasAnyRule, type KernelTable, readElements, readTable } from '../../src/netfilter/nfnetlink/table.ts';
import type { IpFamily } from '../../src/netfilter/tables.ts';
import type { Logger } from '../../src/runtime/log.ts';
import { runInSlices } from '../../src/runtime/slices.ts';
import type { NodeRenderOptions, Proxier, SyncOptions, SyncReport } from '../mode.ts';
import type { ProxySnapshot } from '../state/model.ts';
import { CHAIN, TABLE } from './names.ts';
import { hasSameFrame, writeRepairSteps } from './repair.ts';
import { NFT_FAMILY, type RuleSet, renderRuleSetSteps, replaceServicesSteps } from './rule-set.ts';
import { buildFullSteps, writeChangesSteps } from './transaction.ts';

export interface NftablesProxierOptions {
  family: IpFamily;
  /** Opened when it is first needed. */
  openSocket(): NftSocket;
  netns?: string;
  log: Logger;
  /** Shared by the proxiers of a namespace. */
  turns: Turns;
  /** A transaction that the kernel refused. */
  onCommitFailed?(): void;
}

/** Comparing with the kernel reads every element; beyond so many endpoints that takes seconds, and the monitor has to do. */
const HOURLY_REPAIR_ENDPOINTS = 20_000;
/** While other programs change their tables without pause, what we read may be old by the time we write. */
const GENERATION_ATTEMPTS = 5;
/** What a transaction of the whole table takes, about: a buffer that has to grow is copied, and there twice for a moment. */
const FRAME_BYTES = 1 << 18;
const BYTES_PER_ENDPOINT = 72;
/** From so many bytes on the monitor is paused for a transaction. */
const BIG_TRANSACTION_BYTES = 1 << 16;

/** Runs one piece of work after another. */
export type Turns = <T>(work: () => Promise<T>) => Promise<T>;

/**
 * The ruleset's generation is one number for all tables. So both families take turns: what one of them writes while the other reads would
 * look like a stranger's change, and have a whole table read again.
 */
export function createTurns(): Turns {
  let tail: Promise<unknown> = Promise.resolve();
  return (work) => {
    const result = tail.then(work);
    tail = result.catch(() => {});
    return result;
  };
}

/**
 * Brings the nftables rules of one IP family in line with snapshots, by netlink alone. A full pass reads our table and repairs what
 * differs; a partial one compares with what the pass before has written, at a cost that follows the services that changed.
 */
export function createNftablesProxier(options: NftablesProxierOptions): Proxier {
  const family = NFT_FAMILY[options.family];
  let opened: NftSocket | undefined;
  /** What stands in the kernel as far as we know; undefined when we don't. */
  let applied: RuleSet | undefined;
  let monitor: NftMonitor | undefined;
  let onTampered: (() => void) | undefined;
  const socket = () => {
    opened ??= options.openSocket();
    return opened;
  };

  async function commit(batch: NftBatch): Promise<boolean> {
    if (batch.isEmpty) return false;
    const transaction = batch.finish();
    const isBig = transaction.bytes.length > BIG_TRANSACTION_BYTES && monitor !== undefined;
    const before = isBig ? await socket().generation() : undefined;
    if (isBig) monitor?.pause();
    try {
      await socket().commit(transaction);
    } catch (error) {
      options.onCommitFailed?.();
      throw error;
    } finally {
      if (isBig) monitor?.resume();
    }
    // Ours made one new generation; another one was made while we did not listen.
    if (before && (await socket().generation()).id !== nextGeneration(before.id)) onTampered?.();
    return true;
  }

  async function syncFull(snapshot: ProxySnapshot, node: NodeRenderOptions, signal?: AbortSignal): Promise<SyncReport> {
    applied = undefined;
    for (let attempt = 1; ; attempt++) {
      const generation = attempt < GENERATION_ATTEMPTS ? (await socket().generation()).id : undefined;
      const found = await readTable(socket(), family, TABLE);
      const wanted = await runInSlices(renderRuleSetSteps(snapshot, node), signal);
      try {
        const wrote = await write(found, wanted, generation, signal);
        applied = wanted;
        return reportOf(wanted, 'full', wrote);
      } catch (error) {
        // ERESTART: somebody changed a table, maybe ours, since we looked.
        if (!isNetlinkError(error, 'ERESTART') || attempt >= GENERATION_ATTEMPTS) throw error;
      }
    }
  }

  async function write(
    found: KernelTable | undefined,
    wanted: RuleSet,
    generation: number | undefined,
    signal?: AbortSignal,
  ): Promise<boolean> {
    if (found && hasSameFrame(found, wanted)) {
      const elements = new Map<string, Map<string, string>>();
      for (const { name } of wanted.sets) elements.set(name, await readElements(socket(), family, TABLE, name));
      const batch = new NftBatch(family, TABLE, { generation });
      await runInSlices(writeRepairSteps(batch, { ...found, elements }, wanted), signal);
      try {
        return await commit(batch);
      } catch (error) {
        if (isNetlinkError(error, 'ERESTART')) throw error;
        options.log.warn({ err: error }, 'the nftables table cannot be repaired; writing it anew');
      }
    }
    const initialBytes = FRAME_BYTES + wanted.totals.endpoints * BYTES_PER_ENDPOINT;
    const batch = new NftBatch(family, TABLE, { generation, initialBytes });
    await runInSlices(buildFullSteps(wanted, batch, found !== undefined), signal);
    return await commit(batch);
  }

  async function syncPartial(
    standing: RuleSet,
    snapshot: ProxySnapshot,
    dirty: ReadonlySet<string>,
    node: NodeRenderOptions,
  ): Promise<SyncReport> {
    // Known again only once the transaction is through: a pass that fails half-way leaves us to read the kernel anew.
    applied = undefined;
    const changes = await runInSlices(replaceServicesSteps(standing, snapshot, dirty, node));
    const batch = new NftBatch(family, TABLE);
    await runInSlices(writeChangesSteps(batch, standing, changes));
    const wrote = await commit(batch);
    applied = standing;
    return reportOf(standing, 'partial', wrote);
  }

  async function sync(
    snapshot: ProxySnapshot,
    dirty: ReadonlySet<string>,
    { node, full, signal }: SyncOptions,
  ): Promise<SyncReport> {
    const standing = full ? undefined : applied;
    if (!standing) return await syncFull(snapshot, node, signal);
    if (dirty.size === 0) return reportOf(standing, 'partial', false);
    try {
      return await syncPartial(standing, snapshot, dirty, node);
    } catch (error) {
      options.log.warn({ err: error }, 'changes were refused; comparing the whole nftables table');
      return await syncFull(snapshot, node, signal);
    }
  }

  return {
    sync: (snapshot, dirty, syncOptions) => options.turns(() => sync(snapshot, dirty, syncOptions)),
    isFlushed: async () => !(await hasAnyRule(socket(), family, TABLE, CHAIN.services).catch(absent)),
    async watchTampering(signal, tampered) {
      if (signal.aborted) return;
      const { portId } = await socket().generation();
      onTampered = tampered;
      monitor = openNftMonitor({
        netns: options.netns,
        isForeign: changesToTable(family, TABLE, portId),
        onChanged: tampered,
      });
      try {
        await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
      } finally {
        monitor.close();
        monitor = undefined;
        onTampered = undefined;
      }
    },
    async close() {
      opened?.close();
      opened = undefined;
    },
  };
}

function absent(error: unknown): boolean {
  if (isNetlinkError(error, 'ENOENT')) return false;
  throw error;
}

function reportOf({ totals }: RuleSet, kind: SyncReport['kind'], wrote: boolean): SyncReport {
  return {
    kind,
    wrote,
    skipsHourlyRepair: totals.endpoints > HOURLY_REPAIR_ENDPOINTS,
    withoutLocalEndpoints: { internal: totals.withoutInternal, external: totals.withoutExternal },
  };
}
