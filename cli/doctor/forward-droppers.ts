import { hasProgram, run } from '../../src/linux/exec.ts';
import type { NftObject } from '../../src/netfilter/nft.ts';
import type { Finding } from './finding.ts';

const TIMEOUT_MS = 10_000;

/**
 * Where else than in iptables' FORWARD, which the node has its accepts in, forwarded packets are dropped unless a rule there accepts them: an
 * accept in one place does not overrule a drop in another. As an administrator finds them: `inet filter forward`, `iptables-legacy`.
 */
export async function readForwardDroppers(netns?: string): Promise<string[]> {
  const options = { timeoutMs: TIMEOUT_MS, ...(netns !== undefined && { netns }) };
  const output = (program: string, args: string[]) =>
    hasProgram(program)
      ? run(program, args, options).then(
          ({ stdout }) => stdout,
          () => '',
        )
      : '';
  const chains = await output('nft', ['-j', 'list', 'chains']);
  const version = await output('iptables', ['--version']);
  // Where it is the node's own iptables, the node's accepts are in it.
  const legacy = version.includes('nf_tables') ? await output('iptables-legacy-save', ['-t', 'filter']) : '';
  return [...findDroppingChains(chains), ...(/^:FORWARD DROP/m.test(legacy) ? ['iptables-legacy'] : [])];
}

/** @param json what `nft -j list chains` prints; empty without nft. Pure. */
function findDroppingChains(json: string): string[] {
  if (json === '') return [];
  const { nftables } = JSON.parse(json) as { nftables: NftObject[] };
  return nftables.flatMap(({ chain }) => {
    if (chain?.['hook'] !== 'forward' || chain['type'] !== 'filter' || chain['policy'] !== 'drop') return [];
    const { family, table, name } = chain as Record<string, string>;
    if (family === 'bridge' || (table === 'filter' && name === 'FORWARD')) return [];
    return [`nft chain ${family} ${table} ${name}`];
  });
}

/** Pure. */
export function judgeForwardDroppers(droppers: readonly string[]): Finding[] {
  if (droppers.length === 0) return [];
  return [
    {
      check: 'forwarding',
      state: 'warning',
      detail: `${droppers.join(', ')} drops what no rule there accepts: the node's own accepts do not count there`,
      remedy: "accept the pods' range there, as source and as destination, or let its policy be accept",
    },
  ];
}
