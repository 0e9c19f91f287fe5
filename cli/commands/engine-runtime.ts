import type { Command } from 'commander';

/** `berth engine-runtime`: for a Docker Engine of one's own. */
export function defineEngineRuntime(program: Command): void {
  program
    .command('engine-runtime')
    .description('print the OCI runtime with which pods start faster, for a Docker Engine that Berth did not start')
    .option('--program <name>', 'the runtime behind it', 'runc')
    .addHelpText(
      'after',
      `
Register it with the Engine once, as root; its containers keep running where live-restore is on:

    berth engine-runtime > /usr/local/bin/berth-runtime && chmod 755 /usr/local/bin/berth-runtime
    # in /etc/docker/daemon.json: { "runtimes": { "berth": { "path": "/usr/local/bin/berth-runtime" } } }
    systemctl reload docker

The agent uses a runtime of this name when it starts (--pod-runtime); 'berth doctor' shows whether it does. The file must stay as long as
containers made with it do.`,
    )
    .action(async ({ program: runtime }: { program: string }) => {
      const { renderPodRuntimeScript } = await import('../engine/pod-runtime-script.ts');
      process.stdout.write(renderPodRuntimeScript(runtime));
    });
}
