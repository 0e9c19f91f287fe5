import { stringify } from 'yaml';
import {
  type KubeProxyConfiguration,
  kubeProxyConfiguration,
  resolveBindAddresses,
} from '../../proxy/config/kube-proxy-configuration.ts';
import type { ModeName, ProxyMode } from '../../proxy/mode.ts';
import { createModes } from '../../proxy/modes.ts';
import { addressesOf, readLocalInterfaces } from '../../proxy/node-addresses.ts';
import { computeNodeOptions } from '../../proxy/node-options.ts';
import { nodeIpsOf } from '../../proxy/own-node.ts';
import { selectMode } from '../../proxy/select-mode.ts';
import { readLiveRules } from '../../proxy/trace/live-rules.ts';
import { tracePacket } from '../../proxy/trace/trace.ts';
import { type ConfigFlag, loadConfig } from '../../src/config/load.ts';
import { createKubeClient, type KubeClient } from '../../src/kube/client.ts';
import { isNotFound } from '../../src/kube/errors.ts';
import { loadKubeconfig } from '../../src/kube/kubeconfig.ts';
import { services } from '../../src/kube/resources.ts';
import type { Service } from '../../src/kube/types.ts';
import { run } from '../../src/linux/exec.ts';
import { readSysctl } from '../../src/linux/sysctl.ts';
import type { IpFamily } from '../../src/netfilter/tables.ts';
import { silentLogger } from '../../src/runtime/log.ts';
import { Registry } from '../../src/runtime/metrics.ts';
import { UserError } from '../output/failure.ts';
import { checkRoot } from '../preflight/checks.ts';
import { createContext, type ProgramContext } from '../roots/context.ts';
import { nodeNameOf } from '../roots/node-client.ts';
import { readSettings } from '../settings.ts';
import { readClusterState } from './cluster-state.ts';
import { resolveSource } from './origin.ts';
import { renderTrace, type TraceReport } from './print.ts';
import { type Destination, parseDestination, parseOrigin } from './question.ts';
import { readRoutes } from './routes.ts';
import { askRunningProxy, withRunningConfig } from './running-proxy.ts';

export interface TraceFlags {
  from: string;
  namespace: string;
  /** False: the kernel's own rules are not looked at. */
  kernel: boolean;
  output?: string;
  config?: string;
  kubeconfig?: string;
  nodeName?: string;
  /** Of a cluster that `berth up` has set up. */
  clusterDir: string;
  overrides: ConfigFlag[];
}

/** `berth proxy trace`: what the rules of this node do with a packet, and why. Changes nothing. */
export async function traceCommand(destination: string, flags: TraceFlags): Promise<void> {
  if (flags.output !== undefined && flags.output !== 'json' && flags.output !== 'yaml')
    throw new UserError(`-o ${flags.output}: json or yaml`, 2);
  const asked = parseDestination(destination, flags.namespace);
  const origin = parseOrigin(flags.from, flags.namespace);
  checkRoot('proxy trace');
  const context = { ...createContext(), log: silentLogger };
  const settings = readSettings(flags.clusterDir);
  const loaded = loadConfig(kubeProxyConfiguration, { file: flags.config, flags: flags.overrides });
  const kubeconfig = flags.kubeconfig ?? (loaded.clientConnection.kubeconfig || settings?.kubeconfig);
  if (!kubeconfig)
    throw new UserError(
      `trace needs an API server: give --kubeconfig FILE, or --config with clientConnection.kubeconfig; there is no cluster in ${flags.clusterDir}`,
    );
  const nodeName = nodeNameOf({
    nodeName: flags.nodeName ?? (loaded.hostnameOverride || (flags.kubeconfig ? undefined : settings?.nodeName)),
  });
  const metricsAddress =
    settings && !flags.config && !flags.kubeconfig
      ? `127.0.0.1:${settings.proxyMetricsPort}`
      : resolveBindAddresses(loaded).metrics;
  const running = await askRunningProxy(metricsAddress);
  const config = typeof running === 'string' ? loaded : withRunningConfig(loaded, running.config);

  const client = createKubeClient(loadKubeconfig(kubeconfig, { userAgent: 'berth' }));
  try {
    const target = await resolveTarget(asked, client);
    const family: IpFamily = target.address.includes(':') ? 'IPv6' : 'IPv4';
    const modeName = typeof running === 'string' ? undefined : (running.mode as ModeName);
    const mode = await chooseMode(config, modeName, family, context);
    const cluster = await readClusterState(client, nodeName, context);
    const { ownNode, serviceCidrs } = cluster;
    const routeOf = await readRoutes();
    const nodeIps = nodeIpsOf(config.bindAddress, ownNode, family);
    const host = { localAddresses: addressesOf(readLocalInterfaces()), outInterface: routeOf };
    const source = await resolveSource(origin, {
      client,
      nodeName,
      family,
      nodeIps,
      host,
      routeOf,
      destination: target.address,
    });
    const live = flags.kernel ? await readLiveRules(family, { run }) : undefined;
    const trace = await tracePacket(
      {
        family,
        mode,
        snapshot: cluster.snapshot(family),
        node: computeNodeOptions({ config, mode: mode.name, nodeName, ownNode, serviceCidrs, family }),
        host,
      },
      { protocol: asked.protocol, ...source, destination: target.address, destinationPort: target.port },
      live?.rulesets,
    );
    const lastSync = typeof running === 'string' ? undefined : running.lastSyncSeconds.get(family);
    print(
      {
        node: nodeName,
        lastSyncAgeSeconds: lastSync === undefined ? null : context.clock.nowMs() / 1000 - lastSync,
        ...trace,
        gaps: [...(typeof running === 'string' ? [running] : []), ...(live?.gaps ?? [])],
      },
      flags.output,
    );
  } finally {
    await client.close();
  }
}

function print(report: TraceReport, output: string | undefined): void {
  if (output === 'json') process.stdout.write(`${JSON.stringify(report, null, 2)}\n`);
  else if (output === 'yaml') process.stdout.write(stringify(report));
  else process.stdout.write(renderTrace(report));
}

/** The mode of the proxy that runs; else the one that would be taken here. */
async function chooseMode(
  config: KubeProxyConfiguration,
  running: ModeName | undefined,
  family: IpFamily,
  { log, clock }: ProgramContext,
): Promise<ProxyMode> {
  const sysctls = {
    read: (key: string) => readSysctl(key),
    write(key: string): never {
      throw new Error(`a trace writes nothing, and not ${key}`);
    },
  };
  const modes = createModes({ run, config, sysctls, clock, log, metrics: new Registry() });
  const known = running && modes[running];
  if (known) return known;
  return (await selectMode({ wanted: config.mode, modes, families: [family], primary: family })).mode;
}

/** The address and number behind the names. */
async function resolveTarget(asked: Destination, client: KubeClient): Promise<{ address: string; port: number }> {
  if ('address' in asked.host) return { address: asked.host.address, port: Number(asked.port) };
  const { namespace, name } = asked.host;
  const service = await client.get(services, { namespace, name }).catch((error) => {
    throw isNotFound(error) ? new UserError(`there is no Service ${name} in namespace ${namespace}`) : error;
  });
  const address = service.spec.clusterIP;
  if (!address || address === 'None') throw new UserError(whyNotProxied(service));
  const port = typeof asked.port === 'number' ? asked.port : portNamed(service, asked.port);
  return { address, port };
}

function whyNotProxied({ metadata, spec }: Service): string {
  const name = `Service ${metadata.namespace}/${metadata.name}`;
  if (spec.type === 'ExternalName')
    return `${name} is an ExternalName: DNS answers with ${spec.externalName}, and no proxy has a part in it`;
  return `${name} is headless: DNS answers with the addresses of its pods, and no proxy has a part in it`;
}

function portNamed({ metadata, spec }: Service, wanted: string): number {
  const ports = spec.ports ?? [];
  const found = ports.find(({ name }) => name === wanted);
  if (found) return found.port;
  const names = ports.map(({ name, port }) => name ?? String(port)).join(', ');
  throw new UserError(`Service ${metadata.namespace}/${metadata.name} has no port named ${wanted}; it has ${names}`);
}
