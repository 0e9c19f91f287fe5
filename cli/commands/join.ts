import type { Command } from 'commander';
import type { JoinFlags } from '../join/join.ts';
import { JOIN_ROOT_DIR } from '../join/joined.ts';

const collect = (value: string, before: string[] = []) => [...before, value];

/** `berth join`: this host becomes a node of another host's cluster; `berth leave` undoes it. */
export function defineJoin(program: Command): void {
  program
    .command('join')
    .description("make this host a node of another host's cluster ('berth token create' there prints the command)")
    .requiredOption('--server <url>', "the cluster's API server, such as https://192.0.2.1:6443")
    .requiredOption('--token <token>', 'a bootstrap token of the cluster')
    .option('--ca-hash <sha256:hex>', "of the cluster CA's public key; may be given several times", collect)
    .option('--unsafe-skip-ca-verification', 'trust whoever knows the token')
    .option('--node-name <name>', "the node's name (default: the host name)")
    .option('--node-ip <ip>', "the node's address (default: that of the default route's interface)")
    .option('--root-dir <dir>', 'state: credentials, volumes', JOIN_ROOT_DIR)
    .option('--docker-endpoint <unix://socket>', 'the Docker Engine', 'unix:///var/run/docker.sock')
    .option('--overlay-backend <name>', "between the nodes' pods (default: what the cluster says, else host-gw)")
    .option('--net-config-path <file>', "flannel's net-conf.json: a backend with its options (default: the cluster's)")
    .action(async (flags: JoinFlags) => {
      const { join } = await import('../join/join.ts');
      await join(flags);
    });
}

export function defineLeave(program: Command): void {
  program
    .command('leave')
    .description('take this host out of the cluster that it joined: pods, rules, credentials')
    .option('--root-dir <dir>', "the node's root directory", JOIN_ROOT_DIR)
    .action(async (flags: { rootDir: string }) => {
      const { leave } = await import('../join/leave.ts');
      await leave(flags);
    });
}
