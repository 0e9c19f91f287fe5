import type { Command } from 'commander';

/** `berth machine`: the inventory of this machine. */
export function defineMachine(program: Command): void {
  program
    .command('machine')
    .description('show what this machine is made of: maker, firmware, processors, memory, disks, network')
    .option('-o, --output <format>', 'json or yaml, for programs')
    .action(async (options: { output?: string }) => {
      const { machine } = await import('../machine/machine.ts');
      await machine(options);
    });
}
