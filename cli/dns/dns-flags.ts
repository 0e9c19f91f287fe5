/** The arguments of `berth dns`. */
export interface DnsFlags {
  kubeconfig: string;
  clusterDomain: string;
  bindAddress: string;
  port: string;
  metricsPort: string;
  serviceAddress: string;
  /** Commas between. */
  clientNetworks: string;
  resolvConf: string;
  /** Names the process that answers; whoever writes it last ends the one before. */
  pidFile: string;
  /** Which build runs: another one is a reason to start anew. */
  generation: string;
}

const FLAGS: Record<keyof DnsFlags, string> = {
  kubeconfig: '--kubeconfig',
  clusterDomain: '--cluster-domain',
  bindAddress: '--bind-address',
  port: '--port',
  metricsPort: '--metrics-port',
  serviceAddress: '--service-address',
  clientNetworks: '--client-networks',
  resolvConf: '--resolv-conf',
  pidFile: '--pid-file',
  generation: '--generation',
};

/** The command line, each flag one word with its value: the words identify the process. */
export function renderDnsArguments(flags: DnsFlags): string[] {
  const words = (Object.keys(FLAGS) as (keyof DnsFlags)[]).map((key) =>
    key === 'pidFile' ? [FLAGS[key], flags[key]] : [`${FLAGS[key]}=${flags[key]}`],
  );
  return ['dns', ...words.flat()];
}
