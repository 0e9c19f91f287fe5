import { readFileSync } from 'node:fs';
import { hasProgram } from '../../src/linux/exec.ts';
import { inNetns } from '../../src/linux/netns.ts';
import { createIptables, type Iptables, type Run } from '../../src/netfilter/iptables.ts';
import { createNft, type Nft, type NftObject } from '../../src/netfilter/nft.ts';
import type { IpFamily, SavedTable } from '../../src/netfilter/tables.ts';
import type { TableChanges } from '../../src/netfilter/transaction.ts';
import { runAll } from '../../src/runtime/run-all.ts';
import { type AttachmentKey, CNI_ERROR, CniError } from '../types.ts';
import { buildMasquerade, buildMasqueradeCollection, buildMasqueradeRemoval, isMasqueraded } from './iptables.ts';
import {
  hasMasquerade,
  MASQUERADE_TABLE,
  renderMasquerade,
  renderMasqueradeCollection,
  renderMasqueradeRemoval,
} from './nftables.ts';

/** `auto`: iptables where it is installed, else nftables, as the reference plugins choose. */
export type MasqueradeBackend = 'iptables' | 'nftables' | 'auto';

/** What containers send out of their subnets takes the host's address. */
export interface Masquerade {
  /** For all addresses of an attachment (with prefix length). Idempotent. */
  ensure(network: string, key: AttachmentKey, addresses: readonly string[], backend: MasqueradeBackend): Promise<void>;
  /** @throws CniError 0 naming an address that neither backend masquerades any more. */
  check(network: string, key: AttachmentKey, addresses: readonly string[]): Promise<void>;
  /** @throws CniError 50 when no backend is there, or not the one that is asked for. */
  status(backend: MasqueradeBackend): void;
  /** Idempotent, and for both backends: the container may be older than the configuration. */
  remove(network: string, key: AttachmentKey): Promise<void>;
  /** Releases what belongs to none of the network's valid attachments. */
  collect(network: string, valid: readonly AttachmentKey[]): Promise<void>;
}

const FAMILIES: readonly { family: IpFamily; table: string; digit: 4 | 6 }[] = [
  { family: 'IPv4', table: 'ip', digit: 4 },
  { family: 'IPv6', table: 'ip6', digit: 6 },
];

/** O(rules of the nat tables) a call, by the programs iptables and nft, which are started only where there is something to read or write. */
export function createMasquerade(deps: { run: Run; netns?: string }): Masquerade {
  const nft = createNft(deps);
  const iptables = (family: IpFamily) => createIptables({ ...deps, family });
  /** Reading a table and changing it are two steps: one after the other within this process, and the kernel's handles tell the rest. */
  let tail: Promise<unknown> = Promise.resolve();
  function alone<T>(work: () => Promise<T>): Promise<T> {
    const result = tail.then(work);
    tail = result.catch(() => {});
    return result;
  }

  async function changeIptables(build: (saved: SavedTable, digit: 4 | 6) => TableChanges): Promise<void> {
    if (!hasProgram('iptables-restore')) return;
    const present = await natTables(nft, deps.netns);
    for (const { family, table, digit } of FAMILIES)
      if (present.has(table)) await change(iptables(family), (saved) => build(saved, digit));
  }

  async function changeNftables(render: (objects: NftObject[]) => string): Promise<void> {
    const { family, name } = MASQUERADE_TABLE;
    const exists = (await nft.tables()).some((table) => table.family === family && table.name === name);
    const script = render(exists ? await nft.list(family, name) : []);
    if (script !== '') await nft.apply(script);
  }

  return {
    ensure: (network, key, addresses, backend) =>
      alone(async () => {
        if (chosen(backend) === 'nftables')
          return changeNftables((objects) => renderMasquerade(network, key, addresses, objects));
        for (const { family, digit } of FAMILIES) {
          const own = addresses.filter((address) => address.includes(':') === (digit === 6));
          if (own.length > 0)
            await change(iptables(family), (saved) => buildMasquerade(network, key.containerId, own, saved));
        }
      }),

    async check(network, key, addresses) {
      const { family, name } = MASQUERADE_TABLE;
      const exists = (await nft.tables()).some((table) => table.family === family && table.name === name);
      if (exists && hasMasquerade(network, key, addresses, await nft.list(family, name))) return;
      for (const { family, digit } of FAMILIES) {
        const own = addresses.filter((address) => address.includes(':') === (digit === 6));
        const saved = own.length > 0 && hasProgram('iptables-save') ? await natOf(iptables(family)) : new Map();
        const missing = own.find((address) => !isMasqueraded(network, key.containerId, address, saved));
        if (missing !== undefined) throw new CniError(CNI_ERROR.unknown, `${missing} is not masqueraded any more`);
      }
    },

    status(backend) {
      const program = { iptables: 'iptables-restore', nftables: 'nft' }[chosen(backend)];
      if (!hasProgram(program)) throw new CniError(CNI_ERROR.notAvailable, `ipMasq: ${program} is not installed`);
    },

    remove: (network, key) =>
      alone(() =>
        runAll(`masquerade of ${key.containerId}`, [
          () => changeIptables((saved) => buildMasqueradeRemoval(network, key.containerId, saved)),
          () => changeNftables((objects) => renderMasqueradeRemoval(network, key, objects)),
        ]),
      ),

    collect(network, valid) {
      const ids = new Set(valid.map(({ containerId }) => containerId));
      return alone(() =>
        runAll(`masquerade of network ${network}`, [
          () => changeIptables((saved) => buildMasqueradeCollection(network, ids, saved)),
          () => changeNftables((objects) => renderMasqueradeCollection(network, valid, objects)),
        ]),
      );
    },
  };
}

async function change(iptables: Iptables, build: (saved: SavedTable) => TableChanges): Promise<void> {
  await iptables.restore([build(await natOf(iptables))]);
}

async function natOf(iptables: Iptables): Promise<SavedTable> {
  return (await iptables.save('nat')).get('nat') ?? new Map();
}

function chosen(backend: MasqueradeBackend): 'iptables' | 'nftables' {
  if (backend !== 'auto') return backend;
  if (hasProgram('iptables-restore')) return 'iptables';
  if (hasProgram('nft')) return 'nftables';
  throw new CniError(CNI_ERROR.notAvailable, 'ipMasq: neither iptables nor nft is installed on this host', {
    details: 'install one of them, or leave ipMasq out',
  });
}

/** Of which families iptables has a nat table, without making one: of nf_tables, or of the legacy kind. */
async function natTables(nft: Nft, netns: string | undefined): Promise<Set<string>> {
  const names = (await nft.tables()).filter(({ name }) => name === 'nat').map(({ family }) => family);
  for (const { table } of FAMILIES) if (hasLegacyNat(table, netns)) names.push(table);
  return new Set(names);
}

function hasLegacyNat(table: string, netns: string | undefined): boolean {
  return inNetns<boolean>(netns, () => {
    try {
      return readFileSync(`/proc/thread-self/net/${table}_tables_names`, 'utf8').split('\n').includes('nat');
    } catch {
      // A kernel without the legacy tables.
      return false;
    }
  });
}
