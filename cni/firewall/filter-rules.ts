import { ExecError, hasProgram } from '../../src/linux/exec.ts';
import { mayHaveChain } from '../../src/netfilter/chain-presence.ts';
import { createIptables, type Iptables, type Run } from '../../src/netfilter/iptables.ts';
import type { NftSocket } from '../../src/netfilter/nfnetlink/socket.ts';
import type { IpFamily, SavedTable } from '../../src/netfilter/tables.ts';
import { isEmptyTransaction, type TableChanges } from '../../src/netfilter/transaction.ts';
import { LockedError } from '../../src/netfilter/xtables-lock.ts';
import { runAll } from '../../src/runtime/run-all.ts';
import { asCniError, broken } from '../plugins/failure.ts';
import { CNI_ERROR, CniError } from '../types.ts';
import { buildAddition, buildRemoval, type FilterWish, FORWARD_CHAIN, findMissing } from './iptables-rules.ts';

/** Of both families: `families` are the addresses by which it is told which a container has. */
export type FirewallWish = FilterWish & { families: readonly string[] };

/** The firewall plugin's rules in the filter tables: one iptables-save and one iptables-restore a call and family. */
export interface FilterRules {
  add(wish: FirewallWish): Promise<void>;
  remove(addresses: readonly string[], adminChain: string): Promise<void>;
  check(wish: FirewallWish): Promise<void>;
}

const FAMILIES: readonly IpFamily[] = ['IPv4', 'IPv6'];
/** Another process may change the table between our look and our transaction: then we look again. */
const ATTEMPTS = 5;

export function createFilterRules(options: { run: Run; socket: NftSocket; hostNetns?: string }): FilterRules {
  const { run, hostNetns } = options;
  const programs = new Map<IpFamily, Iptables>(
    FAMILIES.map((family) => [family, createIptables({ family, run, netns: hostNetns })]),
  );
  /** In this process one at a time: each looks at what the one before has written. */
  let tail: Promise<unknown> = Promise.resolve();
  function alone<T>(work: () => Promise<T>): Promise<T> {
    const result = tail.then(work).catch((error) => Promise.reject(explain(error)));
    tail = result.catch(() => {});
    return result;
  }

  const save = async (family: IpFamily): Promise<SavedTable> =>
    (await programs.get(family)!.save('filter')).get('filter') ?? new Map();

  async function change(family: IpFamily, build: (saved: SavedTable) => TableChanges): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      const changes = build(await save(family));
      if (isEmptyTransaction([changes])) return;
      try {
        await programs.get(family)!.restore([changes]);
        return;
      } catch (error) {
        if (attempt === ATTEMPTS || !(error instanceof ExecError)) throw error;
      }
    }
  }

  return {
    add: (wish) =>
      alone(async () => {
        if (!hasProgram('iptables-restore'))
          throw new CniError(CNI_ERROR.invalidNetworkConfig, 'firewall: this node has no iptables', {
            details: 'install the package iptables, or firewalld',
          });
        for (const [family, part] of byFamily(wish)) await change(family, (saved) => buildAddition(part, saved));
      }),

    remove: (addresses, adminChain) =>
      alone(() =>
        runAll(
          'remove rules of the filter table',
          FAMILIES.map((family) => async () => {
            const own = addresses.filter((address) => familyOf(address) === family);
            if (own.length > 0 && (await mayHaveChain(options, family, 'filter', FORWARD_CHAIN)))
              await change(family, (saved) => buildRemoval(own, adminChain, saved));
          }),
        ),
      ),

    async check(wish) {
      for (const [family, part] of byFamily(wish)) {
        const missing = findMissing(part, await save(family));
        if (missing !== undefined) throw broken(`firewall: ${missing}`);
      }
    },
  };
}

function byFamily({ families, ...wish }: FirewallWish): [IpFamily, FilterWish][] {
  return FAMILIES.filter((family) => families.some((address) => familyOf(address) === family)).map((family) => [
    family,
    { ...wish, addresses: wish.addresses.filter((address) => familyOf(address) === family) },
  ]);
}

const familyOf = (address: string): IpFamily => (address.includes(':') ? 'IPv6' : 'IPv4');

/** A busy lock passes: the runtime is told to come again (R10). */
function explain(error: unknown): unknown {
  const cause = error instanceof AggregateError ? error.errors.find((one) => one instanceof LockedError) : error;
  if (!(cause instanceof LockedError)) return asCniError(error);
  return new CniError(CNI_ERROR.tryAgainLater, 'firewall: iptables is busy', { details: cause.message, cause: error });
}
