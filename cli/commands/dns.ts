import type { Command } from 'commander';

/** `berth dns`: the cluster's DNS server; the all-in-one starts it beside itself. */
export function defineDns(program: Command): void {
  program
    .command('dns', { hidden: true })
    .description("the cluster's DNS server in the foreground (berth up starts it)")
    .requiredOption('--kubeconfig <file>', 'credentials at the API server')
    .requiredOption('--service-address <ip>', 'the address of the Service kube-dns')
    .requiredOption('--bind-address <ip>', 'where it listens, UDP and TCP')
    .requiredOption('--pid-file <file>', 'names the process that answers')
    .option('--port <port>', 'its port', '10053')
    .option('--metrics-port <port>', 'HTTP: /metrics, /health, /ready', '9153')
    .option('--cluster-domain <name>', "the cluster's DNS domain", 'cluster.local')
    .option('--client-networks <cidrs>', 'who is answered beside nodes; commas between', '10.244.0.0/16')
    .option('--resolv-conf <file>', 'names the servers for all other names', '/etc/resolv.conf')
    .option('--generation <id>', 'which build runs', '')
    .option('-v, --verbose', 'log more')
    .action(async (flags) => {
      const { runDnsDaemon } = await import('../daemon/dns-daemon.ts');
      await runDnsDaemon(flags);
    });
}
