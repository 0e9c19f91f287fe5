import type { Command } from 'commander';
import { DEFAULT_ROOT_DIR } from '../settings.ts';

/** `berth demo`: three web servers behind a Service, a redis, a two-container pod; applied and shown answering. */
export function defineDemo(program: Command): void {
  program
    .command('demo')
    .description('apply the manifests of examples/ and show them answering')
    .option('--root-dir <dir>', "the cluster's root directory", DEFAULT_ROOT_DIR)
    .option('--remove', 'take the demo away again')
    .action(async (options: { rootDir: string; remove?: boolean }) => {
      const { demo } = await import('../cluster/demo.ts');
      await demo(options);
    });
}
