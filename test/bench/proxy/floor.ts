import { COUNTER } from '../../../proxy/iptables/counters.ts';
import { run } from '../../../src/linux/exec.ts';
import { createNfacct } from '../../../src/netfilter/nfacct.ts';

const TIMEOUT_MS = 600_000;

/**
 * Seconds that the rules' own program takes to write all that stands in a namespace into an empty one, in a single transaction: the floor below
 * which nobody gets who writes the same rules by it. Undefined in modes without such a program.
 */
export async function measureFloor(mode: string, netns: string): Promise<number | undefined> {
  const [save, restore, ...args] =
    mode === 'iptables'
      ? (['iptables-save', 'iptables-restore'] as const)
      : mode === 'nftables'
        ? (['nft', 'nft', '-f', '-'] as const)
        : [];
  if (!save || !restore) return undefined;
  const dump = await run(save, mode === 'nftables' ? ['list', 'ruleset'] : [], { netns, timeoutMs: TIMEOUT_MS });
  const name = `berth-floor-${process.pid}`;
  await run('ip', ['netns', 'add', name]);
  try {
    // Rules may name them.
    for (const counter of Object.values(COUNTER)) await createNfacct(`/run/netns/${name}`).ensure(counter);
    const startMs = performance.now();
    await run(restore, args, { netns: `/run/netns/${name}`, input: dump.stdout, timeoutMs: TIMEOUT_MS });
    return (performance.now() - startMs) / 1000;
  } finally {
    await run('ip', ['netns', 'delete', name]);
  }
}
