import { isNetlinkError } from '../../src/linux/netlink/socket.ts';
import { NftBatch } from '../../src/netfilter/nfnetlink/batch.ts';
import { hasRules, isRule } from '../../src/netfilter/nfnetlink/comparison.ts';
import type { Family } from '../../src/netfilter/nfnetlink/rule.ts';
import { listRules, type StandingRule } from '../../src/netfilter/nfnetlink/rule-list.ts';
import type { NftSocket } from '../../src/netfilter/nfnetlink/socket.ts';
import { runAll } from '../../src/runtime/run-all.ts';
import { CNI_ERROR, CniError } from '../types.ts';
import type { PortmapBackend } from './backend.ts';
import type { PodAddress } from './mapping.ts';
import {
  buildPodRules,
  HOSTPORT_TABLE,
  ownerOf,
  POD_CHAINS,
  type PodRule,
  REFERENCE_HOOKS,
  renderRules,
  SKELETON,
  TABLE_COMMENT,
  withoutOurs,
} from './nftables-rules.ts';

interface Table {
  family: Family;
  name: string;
}

/** Where earlier versions of ours wrote the host ports of the built-in network; pods of theirs may be running. */
const OLD_TABLE: Table = { family: 'ip', name: 'berth-hostports' };
const OLD_NETWORK = 'berth';

const TABLES: readonly Table[] = [
  { family: 'ip', name: HOSTPORT_TABLE },
  { family: 'ip6', name: HOSTPORT_TABLE },
  OLD_TABLE,
];

/** Another process may change the table between our look and our transaction: then we look again. */
const ATTEMPTS = 10;

/**
 * Host ports by nf_tables, over netlink: a look and a transaction a call, whatever other tables hold; a look costs as much as the
 * node has host ports. The table is there only while a container uses it.
 * @param apply runs nft, for conditions that only nft understands
 */
export function createNftablesBackend(socket: NftSocket, apply: (script: string) => Promise<void>): PortmapBackend {
  /** In this process one at a time: else the transactions of many pods at once would undo each other's looks. */
  let tail: Promise<unknown> = Promise.resolve();
  function alone<T>(work: () => Promise<T>): Promise<T> {
    const result = tail.then(work);
    tail = result.catch(() => {});
    return result;
  }

  /** Looks and writes until nobody has come between; a batch without changes is not sent. */
  async function change(build: (isLast: boolean) => Promise<NftBatch>): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      const batch = await build(attempt === ATTEMPTS);
      if (batch.isEmpty) return;
      try {
        return await socket.commit(batch.finish());
      } catch (error) {
        if (attempt === ATTEMPTS || !isNetlinkError(error, 'ENOENT', 'ERESTART', 'EBUSY')) throw explain(error);
      }
    }
  }

  async function list({ family, name }: Table): Promise<StandingRule[]> {
    try {
      return await listRules(socket, family, name);
    } catch (error) {
      // A kernel without IPv6, or without nf_tables (EINVAL), has nothing to look at.
      if (isNetlinkError(error, 'EAFNOSUPPORT', 'EOPNOTSUPP', 'EPROTONOSUPPORT', 'EINVAL')) return [];
      throw error;
    }
  }

  async function addTo(family: Family, containerId: string, wanted: readonly PodRule[]): Promise<void> {
    await change(async () => {
      const standing = await list({ family, name: HOSTPORT_TABLE });
      const batch = new NftBatch(family, HOSTPORT_TABLE);
      writeSkeleton(batch, standing, family);
      for (const { chain, handle } of standing.filter(isOf(containerId))) batch.deleteRule(chain, handle);
      for (const { chain, rule, conditions } of wanted) if (conditions.length === 0) batch.insertRule(chain, rule);
      return batch;
    });
    const special = wanted.filter(({ conditions }) => conditions.length > 0);
    if (special.length > 0) await apply(renderRules(family, special));
  }

  async function removeFrom(table: Table, isUnwanted: (rule: StandingRule) => boolean): Promise<void> {
    await change(async (isLast) => {
      const batch = new NftBatch(table.family, table.name);
      const rules = await list(table);
      // On a host where somebody writes all the time the empty table stays rather than the rules.
      if (!isLast && isEmptied(rules, isUnwanted)) {
        // Somebody may add rules after the look: then the kernel refuses to delete the table.
        const { id: generation } = await socket.generation();
        if (isEmptied(await list(table), isUnwanted)) {
          const whole = new NftBatch(table.family, table.name, { generation });
          whole.deleteTable();
          return whole;
        }
      }
      for (const { chain, handle } of rules.filter(isOfPods).filter(isUnwanted)) batch.deleteRule(chain, handle);
      return batch;
    });
  }

  const removeAll = (what: string, isUnwanted: (rule: StandingRule, table: Table) => boolean) =>
    alone(() =>
      runAll(
        what,
        TABLES.map((table) => () => removeFrom(table, (rule) => isUnwanted(rule, table))),
      ),
    );

  return {
    async add(config, containerId, addresses) {
      await alone(async () => {
        for (const pod of addresses) {
          const wanted = buildPodRules(config, containerId, pod);
          if (wanted.length > 0) await addTo(familyOf(pod), containerId, wanted);
        }
      });
    },

    remove: (_network, containerId) => removeAll(`host ports of ${containerId}`, isOf(containerId)),

    async check(config, containerId, addresses) {
      for (const pod of addresses) {
        const family = familyOf(pod);
        const standing = (await list({ family, name: HOSTPORT_TABLE })).filter(isOf(containerId));
        const missing = findMissing(buildPodRules(config, containerId, pod), standing, family);
        if (missing !== undefined) throw new Error(`table ${family} ${HOSTPORT_TABLE} lacks ${missing}`);
      }
    },

    collect(network, keep) {
      const owner = ownerOf(network);
      return removeAll(`host ports of network ${network}`, (rule, table) => {
        const isOurs = table === OLD_TABLE ? network === OLD_NETWORK : rule.owner === owner;
        return isOurs && !keep(rule.comment ?? '');
      });
    },

    close: () => socket.close(),
  };
}

/** The chains that all need, unless they stand already. */
function writeSkeleton(batch: NftBatch, standing: readonly StandingRule[], family: Family): void {
  const rulesOf = (chain: string) => standing.filter((rule) => rule.chain === chain).map((rule) => rule.expressions);
  const stale = SKELETON.filter(({ name, rules }) => rules.length > 0 && !hasRules(rulesOf(name), rules, family));
  const foreign = REFERENCE_HOOKS.filter((name) => standing.some(({ chain }) => chain === name));
  // Chains without rules of their own are not to be seen in the list; to add one that is there changes nothing.
  batch.addTable(TABLE_COMMENT);
  for (const chain of SKELETON) batch.addChain(chain);
  for (const { name, rules } of stale) {
    batch.flushChain(name);
    for (const rule of rules) batch.addRule(name, rule);
  }
  for (const name of foreign) {
    batch.flushChain(name);
    batch.deleteChain(name);
  }
}

/** Whether nothing stays in the table that anybody needs; a table that has other chains too is left. */
function isEmptied(rules: readonly StandingRule[], isUnwanted: (rule: StandingRule) => boolean): boolean {
  const known = new Set<string>([...SKELETON.map(({ name }) => name), ...REFERENCE_HOOKS]);
  return rules.length > 0 && rules.every((rule) => known.has(rule.chain) && (!isOfPods(rule) || isUnwanted(rule)));
}

/** Of a container's rules. The reference plugin has another chain for some, and masquerades in other words: what counts is that it does. */
function findMissing(
  wanted: readonly PodRule[],
  standing: readonly StandingRule[],
  family: Family,
): string | undefined {
  const forwards = wanted.filter(({ chain }) => chain !== 'masquerading');
  const lost = forwards.find(
    ({ conditions, rule }) =>
      conditions.length === 0 &&
      // A container that the reference plugin attached has its ports, if less closely kept: no reason to attach it anew.
      !standing.some(({ expressions }) => [rule, withoutOurs(rule)].some((one) => isRule(expressions, one, family))),
  );
  if (lost)
    return renderRules(family, [lost])
      .trim()
      .replace(/^insert rule \S+ \S+ /, '');
  const count = (rules: readonly { chain: string }[]) => rules.filter(({ chain }) => chain === 'masquerading').length;
  const [masquerades, have] = [count(wanted), count(standing)];
  if (have < masquerades) return `${masquerades - have} of ${masquerades} masquerading rules`;
  const mapped = standing.length - have;
  return mapped < forwards.length ? `${forwards.length - mapped} of ${forwards.length} ports` : undefined;
}

/** What an administrator can do about it. */
function explain(error: unknown): unknown {
  if (!isNetlinkError(error, 'EEXIST', 'EOPNOTSUPP')) return error;
  // The kernel keeps type, hook and priority of a chain that is there.
  const [why, details] = error.message.includes('add chain')
    ? [
        `table ${HOSTPORT_TABLE} has a chain of this name and another kind`,
        'whose is it? without it (nft delete chain …, or nft delete table …) the next attempt makes the right one',
      ]
    : ['this kernel has no nf_tables', 'load the module nf_tables, or configure "backend": "iptables"'];
  return new CniError(CNI_ERROR.ioFailure, `portmap: ${error.message}: ${why}`, { details, cause: error });
}

function isOf(containerId: string) {
  return (rule: StandingRule) => isOfPods(rule) && rule.comment === containerId;
}

const isOfPods = ({ chain }: StandingRule) => POD_CHAINS.has(chain);
const familyOf = ({ family }: PodAddress): Family => (family === 'IPv4' ? 'ip' : 'ip6');
