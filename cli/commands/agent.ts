import type { Command } from 'commander';
import { addNodeFlags, readNodeFlags } from './node-flags.ts';

/** `berth agent`: the node agent (kubelet's job) with the pod network, for a control plane elsewhere or static pods alone. */
export function defineAgent(program: Command): void {
  addNodeFlags(program.command('agent').description("run the node agent alone (kubelet's job)")).action(
    async (values) => {
      const { runAgentDaemon } = await import('../daemon/node-daemons.ts');
      await runAgentDaemon(readNodeFlags(values));
    },
  );
}
