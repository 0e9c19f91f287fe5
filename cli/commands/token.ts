import type { Command } from 'commander';
import type { CreateTokenFlags } from '../cluster/tokens.ts';
import { DEFAULT_ROOT_DIR } from '../settings.ts';

/** `berth token create|list|delete`: bootstrap tokens, by which other hosts join the cluster on this one. */
export function defineToken(program: Command): void {
  const command = program.command('token').description('tokens by which other hosts join this cluster');
  command
    .command('create')
    .description('make one and print how to join with it')
    .argument('[token]', 'this one instead of a random one')
    .option('--ttl <duration>', 'how long it is good; 0: for ever', '24h')
    .option('--description <text>', 'what it is for')
    .option('-o, --output <format>', 'json or yaml: token, server and hash of the CA, for programs')
    .option('--root-dir <dir>', "the cluster's root directory", DEFAULT_ROOT_DIR)
    .action(async (token: string | undefined, flags: CreateTokenFlags) => {
      const { createToken } = await import('../cluster/tokens.ts');
      await createToken({ ...flags, ...(token !== undefined && { token }) });
    });
  command
    .command('list')
    .description('which there are and how long they are good')
    .option('-o, --output <format>', 'json or yaml')
    .option('--root-dir <dir>', "the cluster's root directory", DEFAULT_ROOT_DIR)
    .action(async (flags: { rootDir: string; output?: string }) => {
      const { listTokens } = await import('../cluster/tokens.ts');
      await listTokens(flags);
    });
  command
    .command('delete')
    .description('delete one: nobody joins with it any more')
    .argument('<token>', 'the token, or its first six characters')
    .option('--root-dir <dir>', "the cluster's root directory", DEFAULT_ROOT_DIR)
    .action(async (token: string, flags: { rootDir: string }) => {
      const { deleteToken } = await import('../cluster/tokens.ts');
      await deleteToken(token, flags);
    });
}
