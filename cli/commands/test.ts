import type { Command } from 'commander';

/** `berth test`: every test that this host can run, rung by rung. */
export function defineTest(program: Command): void {
  program
    .command('test')
    .description('run every test that this host can run')
    .argument('[rungs...]', 'only these: lint unit contract netns docker uml e2e guest bench; or single files of test/')
    .option(
      '--full',
      'also the benchmarks, and what takes minutes to make: a real Kubernetes to test against, an image with systemd',
    )
    .action(async (rungs: string[], options: { full?: boolean }) => {
      const { runTests } = await import('../testing/run.ts');
      process.exitCode = await runTests({ only: rungs, full: options.full === true });
    });
}
