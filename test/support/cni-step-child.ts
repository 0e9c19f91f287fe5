/**
 * Attaches or detaches pod 1 and kills itself right before its step number N. Exits 0 when there are fewer steps.
 *
 *     node cni-step-child.ts ADD|DEL N HOST_NETNS POD_NETNS DATA_DIR [MODULE ARGUMENT…]
 *
 * MODULE has the chain, as cni-chain.ts has that of a node's pods.
 */
import { killAtStep } from './kill-at-step.ts';

const [command, number, hostNetns, podNetns, dataDir, module = './cni-chain.ts', ...more] = process.argv.slice(2) as [
  string,
  string,
  string,
  string,
  string,
  ...string[],
];
const steps = await killAtStep(Number(number));
const { openCniChain } = await import(module);
const chain = openCniChain(hostNetns, dataDir, ...more);
steps.arm();
await (command === 'ADD' ? chain.add(1, podNetns) : chain.del(1, podNetns));
process.exit(0);
