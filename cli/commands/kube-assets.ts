import type { Command } from 'commander';

/** `berth kube-assets`: a real Kubernetes control plane for the tests, built from Debian's sources into a cache. */
export function defineKubeAssets(program: Command): void {
  program
    .command('kube-assets')
    .description(
      "build a real kube-apiserver with its companions for the tests, from Debian's sources, at low priority",
    )
    .option('--folder <dir>', 'where the programs go (default: berth/kube in the user cache)')
    .option('--peers', 'build kube-proxy too, which benches and long tests compare with')
    .action(async (options: { folder?: string; peers?: boolean }) => {
      const { assetsCache } = await import('../kube-assets/assets.ts');
      const { buildKubeAssets } = await import('../kube-assets/build.ts');
      const { abortOnSignals } = await import('../roots/context.ts');
      const { UserError } = await import('../output/failure.ts');
      const signal = abortOnSignals();
      try {
        await buildKubeAssets(options.folder ?? assetsCache(process.env), {
          signal,
          withPeers: options.peers,
        });
      } catch (error) {
        if (signal.aborted) throw new UserError('kube-assets: broken off; the next run goes on from here');
        throw error;
      }
    });
}
