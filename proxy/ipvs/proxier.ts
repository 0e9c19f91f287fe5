import type { IpFamily } from '../../src/netfilter/tables.ts';
import { type IptablesTransaction, isEmptyTransaction } from '../../src/netfilter/transaction.ts';
import type { Clock } from '../../src/runtime/clock.ts';
import type { Logger } from '../../src/runtime/log.ts';
import { runInSlices } from '../../src/runtime/slices.ts';
import type { NodeRenderOptions, Proxier, SyncReport } from '../mode.ts';
import type { ProxySnapshot } from '../state/model.ts';
import { applyOperations, ensureSets } from './apply.ts';
import { type IpvsChains, renderIpvsChains } from './chains.ts';
import { createInspection } from './inspection.ts';
import { closeIpvsKernel, type IpvsKernel, readAddresses, readHeaders, readKernelState } from './kernel.ts';
import { countOperations, diffChanges, diffKernel, isMarked } from './operations.ts';
import { renderIpvsSteps } from './render.ts';
import { type IpvsRenderOptions, renderIpvsService } from './service-rules.ts';
import { SET_KEYS, type SetKey } from './sets.ts';
import { countRules, diffChains, diffTables } from './tables.ts';
import { createTerminations, type Terminations } from './termination.ts';
import { noChanges, type Wanted } from './wanted.ts';

/** As often as kube-proxy looks whether the connections of leaving endpoints have ended. */
const SWEEP_INTERVAL_MS = 60_000;

export interface IpvsProxierOptions {
  family: IpFamily;
  scheduler: string;
  /** Whether a virtual server at this address is never to be deleted. */
  isExcluded(address: string): boolean;
  /** Called once, at the first use. */
  open(): Promise<IpvsKernel>;
  /** Before a full sync writes: sysctls, timeouts. */
  prepare(kernel: IpvsKernel): Promise<void>;
  clock: Clock;
  log: Logger;
}

/** What stands in the kernel as far as we know. */
interface Standing {
  wanted: Wanted;
  chains: IpvsChains;
  options: IpvsRenderOptions;
  limits: ReadonlyMap<SetKey, number>;
}

/** Mode ipvs for one family: virtual servers, kube-ipvs0, sets, and the rules around them. */
export function createIpvsProxier(options: IpvsProxierOptions): Proxier {
  const { family, clock, log } = options;
  let opened: Promise<{ kernel: IpvsKernel; terminations: Terminations }> | undefined;
  let standing: Standing | undefined;
  let isTableKnown = false;
  const closing = new AbortController();
  let sweeping: Promise<void> | undefined;
  /** Syncs and sweeps change the same virtual servers: one at a time. */
  let tail: Promise<unknown> = Promise.resolve();
  const inspection = createInspection(family);
  let contestedBefore = '';

  function exclusive<T>(work: () => Promise<T>): Promise<T> {
    const result = tail.then(work);
    tail = result.catch(() => {});
    return result;
  }

  function open() {
    opened ??= options.open().then((kernel) => ({ kernel, terminations: createTerminations(kernel.ipvs) }));
    opened.catch(() => {
      opened = undefined;
    });
    return opened;
  }

  async function writeTables(
    { iptables }: IpvsKernel,
    chains: IpvsChains,
    before: IpvsChains | undefined,
    signal?: AbortSignal,
  ) {
    const transaction = before
      ? diffChains(before, chains)
      : diffTables(await iptables.save(undefined, signal), chains);
    // Not to be torn apart by a shutdown.
    await iptables.restore(transaction);
    return transaction;
  }

  async function full(snapshot: ProxySnapshot, node: NodeRenderOptions, signal?: AbortSignal): Promise<SyncReport> {
    const { kernel, terminations } = await open();
    standing = undefined;
    await options.prepare(kernel);
    await kernel.holder.ensureLink();
    const { held, host } = await readAddresses(kernel, family, signal);
    const hasRandomFully = await kernel.iptables.hasRandomFully(signal);
    const render = { ...node, scheduler: options.scheduler, hostAddresses: host, hasRandomFully };
    const wanted = await runInSlices(renderIpvsSteps(snapshot, render), signal);
    const { made, limits } = await ensureSets(kernel, family, wanted, await readHeaders(kernel));
    const headers = await readHeaders(kernel);
    const state = await readKernelState(kernel, family, wanted, { held, headers, signal });
    const isOwn = (server: Parameters<typeof isMarked>[0]) =>
      isMarked(server, state) && !options.isExcluded(server.address);
    const todo = await runInSlices(diffKernel(state, wanted, isOwn), signal);
    signal?.throwIfAborted();
    const chains = renderIpvsChains(wanted, family, render);
    let transaction: IptablesTransaction = [];
    await applyOperations(kernel, family, todo, {
      terminations,
      writeRules: async () => {
        transaction = await writeTables(kernel, chains, undefined, signal);
      },
    });
    standing = { wanted, chains, options: render, limits };
    return reportOf(standing, 'full', transaction, made + countOperations(todo));
  }

  async function partial(snapshot: ProxySnapshot, dirty: ReadonlySet<string>, known: Standing): Promise<SyncReport> {
    const { kernel, terminations } = await open();
    const { wanted, options: render } = known;
    // Unknown until all of it is through: a pass that fails half-way leaves us to read the kernel anew.
    standing = undefined;
    const changes = noChanges();
    for (const name of dirty) {
      const state = snapshot.services.get(name);
      wanted.replace(name, state && renderIpvsService(state, render), changes);
    }
    const todo = diffChanges(changes, wanted, terminations.has);
    const chains = renderIpvsChains(wanted, family, render);
    let transaction: IptablesTransaction = [];
    await applyOperations(kernel, family, todo, {
      terminations,
      writeRules: async () => {
        transaction = await writeTables(kernel, chains, known.chains);
      },
    });
    standing = { ...known, chains };
    return reportOf(standing, 'partial', transaction, countOperations(todo));
  }

  function outgrows({ wanted, limits }: Standing): boolean {
    return SET_KEYS.some((key) => wanted.elements(key).size > (limits.get(key) ?? 0));
  }

  function warnOfContested(wanted: Wanted): void {
    const now = [...wanted.contested()].map(([key, services]) => `${key} (${services.join(', ')})`).join('; ');
    if (now !== contestedBefore && now !== '')
      log.warn({ family }, `several Services claim the same address and port; the first by name has it: ${now}`);
    contestedBefore = now;
  }

  function keepSweeping(): void {
    sweeping ??= (async () => {
      const { terminations } = await open();
      while (!closing.signal.aborted && terminations.size() > 0) {
        await clock.sleep(SWEEP_INTERVAL_MS, closing.signal).catch(() => {});
        if (closing.signal.aborted) return;
        await exclusive(() => terminations.sweep()).catch((error: unknown) =>
          log.warn({ err: error, family }, 'ending real servers stay for another minute'),
        );
      }
    })().finally(() => {
      sweeping = undefined;
    });
  }

  return {
    sync: (snapshot, dirty, { node, full: isFull, signal }) =>
      exclusive(async () => {
        const known = standing;
        if (known && !isFull && dirty.size === 0) return reportOf(known, 'partial', [], 0);
        let report = known && !isFull ? await partial(snapshot, dirty, known) : undefined;
        // A set that has become too small is replaced by a larger one; before, the kernel refuses what it cannot hold.
        if (!report || (standing && outgrows(standing))) report = await full(snapshot, node, signal);
        if (standing) warnOfContested(standing.wanted);
        const { terminations } = await open();
        if (terminations.size() > 0) keepSweeping();
        isTableKnown = true;
        return report;
      }),
    isFlushed: (signal) =>
      exclusive(async () => {
        if (!standing || !isTableKnown) return false;
        const { kernel } = await open();
        const what = await inspection.look(kernel, standing, signal);
        if (what) log.info({ family }, `not as it was written: ${what}`);
        return what !== undefined;
      }),
    async close() {
      closing.abort();
      await sweeping;
      await tail;
      const open = await opened?.catch(() => undefined);
      opened = undefined;
      if (open) closeIpvsKernel(open.kernel);
    },
  };
}

function reportOf(
  { wanted, chains }: Standing,
  kind: SyncReport['kind'],
  transaction: IptablesTransaction,
  operations: number,
): SyncReport {
  const last = (table: string) =>
    transaction.find((one) => one.table === table)?.commands.filter((command) => command.startsWith('-A')).length ?? 0;
  return {
    kind,
    wrote: operations > 0 || !isEmptyTransaction(transaction),
    // Reading it all takes less than kube-proxy does every 30 s.
    skipsHourlyRepair: false,
    withoutLocalEndpoints: wanted.withoutLocalEndpoints(),
    rules: {
      total: { nat: countRules(chains.get('nat')), filter: countRules(chains.get('filter')) },
      last: { nat: last('nat'), filter: last('filter') },
    },
  };
}
