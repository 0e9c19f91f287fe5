import { existsSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { writeFileAtomically } from '../../src/auth/pem-files.ts';
import { renderKubeconfig } from '../../src/kube/kubeconfig.ts';
import type { Runnable } from '../../src/runtime/run-together.ts';
import { dnsServiceAddress } from '../cluster/addresses.ts';
import { createDnsProcess } from '../dns/dns-process.ts';
import type { ClusterPki } from '../pki/cluster-pki.ts';
import { pathsOf, type Settings } from '../settings.ts';
import type { ProgramContext } from './context.ts';

/** The bundle of `berth dns` alone, where this daemon runs from a bundle too. */
function programBeside(file: string): string {
  const own = join(dirname(file), 'berth-dns.mjs');
  return basename(file) === 'berth.mjs' && existsSync(own) ? own : file;
}

/** The cluster's DNS server in a process of its own, from the same program as this one. */
export function createDnsPart(settings: Settings, pki: ClusterPki, context: ProgramContext): Runnable {
  const paths = pathsOf(settings);
  const server = createDnsProcess(
    {
      flags: {
        kubeconfig: paths.dnsKubeconfig,
        clusterDomain: settings.clusterDomain,
        bindAddress: settings.nodeIp,
        port: String(settings.dnsPort),
        metricsPort: String(settings.dnsMetricsPort),
        serviceAddress: dnsServiceAddress(settings.serviceCidr),
        clientNetworks: settings.podCidr,
        resolvConf: '/etc/resolv.conf',
        pidFile: paths.dnsPid,
      },
      program: { execPath: process.execPath, execArgv: process.execArgv, file: programBeside(process.argv[1]!) },
      logFile: paths.dnsLog,
    },
    context,
  );
  return {
    async run(signal) {
      const kubeconfig = renderKubeconfig({
        server: `https://127.0.0.1:${settings.apiPort}`,
        caPem: pki.ca.certPem,
        // The files themselves: they are renewed while the server runs.
        certificateFile: pki.dns.certFile,
        keyFile: pki.dns.keyFile,
      });
      await writeFileAtomically(paths.dnsKubeconfig, kubeconfig, 0o600);
      await server.run(signal);
    },
  };
}
