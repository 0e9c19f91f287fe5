import { existsSync, rmSync } from 'node:fs';
import { dirname } from 'node:path';
import { createDnsServer } from '../../control-plane/dns/dns-server.ts';
import { createKubeClient } from '../../src/kube/client.ts';
import { loadKubeconfig } from '../../src/kube/kubeconfig.ts';
import { createHeartbeats } from '../../src/runtime/heartbeat.ts';
import { createMetrics } from '../../src/runtime/metrics.ts';
import type { DnsFlags } from '../dns/dns-flags.ts';
import { abortOnSignals, createContext } from '../roots/context.ts';
import { buildInfo } from '../version.ts';
import { livingPid, signalProcess, writePidFile } from './pid-file.ts';

/** Serves the cluster's DNS until SIGTERM or SIGINT. When it answers, it takes the place of the server that the pid file names. */
export async function runDnsDaemon(flags: DnsFlags & { verbose?: boolean }): Promise<void> {
  const { log, clock } = createContext(flags);
  const metrics = createMetrics(buildInfo());
  const config = loadKubeconfig(flags.kubeconfig, { userAgent: 'berth-dns' });
  const client = createKubeClient(config, { clock, metrics });
  const stop = new AbortController();
  const server = createDnsServer(
    {
      clusterDomain: flags.clusterDomain,
      bindAddress: flags.bindAddress,
      port: Number(flags.port),
      metricsPort: Number(flags.metricsPort),
      serviceAddress: flags.serviceAddress,
      clientNetworks: flags.clientNetworks.split(','),
      resolvConf: flags.resolvConf,
    },
    { client, clock, log, metrics, heartbeats: createHeartbeats(clock) },
  );
  try {
    await server.run(AbortSignal.any([abortOnSignals(), stop.signal]), () => {
      // `berth down` took the folder away while this one was starting.
      if (!existsSync(dirname(flags.pidFile))) stop.abort();
      else succeed(flags.pidFile);
    });
  } finally {
    await client.close();
    if (livingPid(flags.pidFile, flags.pidFile) === process.pid) rmSync(flags.pidFile, { force: true });
  }
}

function succeed(pidFile: string): void {
  const before = livingPid(pidFile, pidFile);
  writePidFile(pidFile, process.pid);
  if (before !== undefined && before !== process.pid) signalProcess(before, 'SIGTERM');
}
