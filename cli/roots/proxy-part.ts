import type { KubeProxyConfiguration } from '../../proxy/config/kube-proxy-configuration.ts';
import type { DebugAccess } from '../../proxy/debug/routes.ts';
import { createProxy } from '../../proxy/proxy.ts';
import type { KubeClient } from '../../src/kube/client.ts';
import { createEventRecorder } from '../../src/kube/events.ts';
import { createInformerSet } from '../../src/kube/informer.ts';
import { createOptionalSource } from '../../src/kube/optional-source.ts';
import { nodes, serviceCidrs } from '../../src/kube/resources.ts';
import { createServiceSources } from '../../src/kube/service-sources.ts';
import { run } from '../../src/linux/exec.ts';
import { readModuleParameter, writeModuleParameter } from '../../src/linux/module-parameter.ts';
import type { Registry } from '../../src/runtime/metrics.ts';
import { type Runnable, runTogether } from '../../src/runtime/run-together.ts';
import { KUBERNETES_VERSION } from '../version.ts';
import type { ProgramContext } from './context.ts';

/** Services of another proxy and headless ones are none of ours (kube-proxy's selectors). */
export const PROXIED_SERVICES = '!service.kubernetes.io/service-proxy-name,!service.kubernetes.io/headless';

/** All namespaces share it. */
export const CONNTRACK_HASH = {
  read: () => readModuleParameter('nf_conntrack', 'hashsize'),
  write: (buckets: number) => writeModuleParameter('nf_conntrack', 'hashsize', buckets),
};

export interface ProxyPartOptions {
  nodeName: string;
  config: KubeProxyConfiguration;
  /** Its own identity: system:kube-proxy. */
  client: KubeClient;
  /** What its /metrics shows. */
  metrics: Registry;
  /** Who may read /debug/berth at the metrics port. */
  debugAccess: DebugAccess;
  /** The command line's flags, for /flagz. */
  flags?: Readonly<Record<string, string>>;
  /** How sysctls are written: with a memory, where somebody puts them back one day. */
  sysctls: { read(key: string): string | undefined; write(key: string, value: string): void };
}

/** The service proxy with its informers, ready to run. Ending it leaves the rules as they are. */
export function createProxyPart(options: ProxyPartOptions, { log, clock }: ProgramContext): Runnable {
  const { nodeName, config, client } = options;
  const informers = createInformerSet(client, { log, clock });
  const sources = createServiceSources({ labelSelector: PROXIED_SERVICES }, { client, informers, log, clock });
  const cidrs = createOptionalSource(serviceCidrs, { client, informers, log, clock });
  const proxy = createProxy(
    { nodeName, config, program: { version: KUBERNETES_VERSION, flags: options.flags ?? {} } },
    {
      informers: {
        services: sources.services,
        endpointSlices: sources.endpointSlices,
        nodes: informers.informer(nodes, { fieldSelector: `metadata.name=${nodeName}` }),
        serviceCidrs: cidrs.source,
      },
      run,
      sysctls: options.sysctls,
      conntrackHash: CONNTRACK_HASH,
      events: createEventRecorder({ client, component: 'kube-proxy', host: nodeName, log, clock }),
      log,
      clock,
      metrics: options.metrics,
      debugAccess: options.debugAccess,
    },
  );
  return {
    run: (signal) =>
      runTogether({ 'proxy informers': informers, 'proxy inputs': sources, 'service CIDRs': cidrs, proxy }, signal),
  };
}
