import type { Command } from 'commander';

const BIN_DIR = ['--bin-dir <dir>', 'where runtimes look for plugins', '/opt/cni/bin'] as const;

/** `berth cni`: the plugins of the pod network as programs, for container runtimes. */
export function defineCni(program: Command): void {
  const cni = program.command('cni').description('our network plugins as programs that any container runtime can call');
  cni
    .command('install')
    .description('put them where runtimes look; other plugins there stay')
    .option(...BIN_DIR)
    .option('--force', 'replace plugins of the same names')
    .action(async (options: { binDir: string; force?: boolean }) => {
      const { installPlugins } = await import('../cni/install.ts');
      await installPlugins(options);
    });
  cni
    .command('uninstall')
    .description('take them away again')
    .option(...BIN_DIR)
    .action(async (options: { binDir: string }) => {
      const { uninstallPlugins } = await import('../cni/install.ts');
      await uninstallPlugins(options);
    });
  cni
    .command('dhcp-daemon')
    .description('keep the DHCP leases of containers whose address manager is dhcp')
    .argument(
      '[flags...]',
      "the reference daemon's: -pidfile -hostprefix -socketpath -broadcast -timeout -resendmax -resendtimeout",
    )
    .allowUnknownOption()
    .action(async (flags: string[]) => {
      const { runDhcpDaemon } = await import('../cni/dhcp-daemon.ts');
      await runDhcpDaemon(flags);
    });
}
