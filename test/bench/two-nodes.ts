/**
 * Two nodes from nothing to Ready: two hosts with empty data roots, `berth up` on one, a Docker Engine and `berth node` on the other with what
 * `berth node kubeconfig` and `berth node config` print. Seconds from the first command to the moment when kubectl shows both Ready.
 *
 *     .toolchain/bin/node test/bench/two-nodes.ts
 *
 * Packages and images are there, and the file system's caches are warm.
 */
import type { Node } from '../../src/kube/types.ts';
import { createClusterHost, until } from '../support/cluster-host.ts';
import { createNodeHost } from '../support/node-host.ts';
import { line } from './support.ts';

const ROUNDS = 5;

const first: number[] = [];
const joined: number[] = [];
const both: number[] = [];
for (let round = 0; round < ROUNDS; round++) {
  const one = await createClusterHost('one');
  const started = performance.now();
  const starting = createNodeHost('two', one.net);
  try {
    await one.berthOk('up');
    first.push(secondsSince(started));
    const two = await starting;
    const node = (await one.berthOk('node', 'kubeconfig', 'two', '--node-ip', two.address)).stdout;
    const config = (await one.berthOk('node', 'config')).stdout;
    const joining = performance.now();
    two.start({ node }, config);
    await until('both nodes are Ready', async () => (await one.list<Node>('nodes')).filter(isReady).length === 2);
    joined.push(secondsSince(joining));
    both.push(secondsSince(started));
  } finally {
    await (await starting).close();
    await one.close();
  }
}
process.stdout.write(`${line('berth up, empty host → its end', first, 's')}\n`);
process.stdout.write(`${line('berth node → Ready', joined, 's')}\n`);
process.stdout.write(`${line('two empty hosts → two nodes Ready', both, 's')}\n`);

function secondsSince(startedMs: number): number {
  return (performance.now() - startedMs) / 1000;
}

function isReady({ status }: Node): boolean {
  return status?.conditions?.some(({ type, status: is }) => type === 'Ready' && is === 'True') ?? false;
}
