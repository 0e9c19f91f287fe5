import type { KubeProxyConfiguration } from '../../proxy/config/kube-proxy-configuration.ts';

const TIMEOUT_MS = 2000;

/** What the proxy of this node says of itself, at its metrics port. */
export interface RunningProxy {
  mode: string;
  config: Record<string, unknown>;
  /** Wall time, seconds, of the last sync of each family. */
  lastSyncSeconds: ReadonlyMap<string, number>;
}

/** @returns why not, when no proxy answers there. */
export async function askRunningProxy(address: string): Promise<RunningProxy | string> {
  const get = async (path: string): Promise<string> => {
    const response = await fetch(`http://${address}${path}`, { signal: AbortSignal.timeout(TIMEOUT_MS) });
    if (!response.ok) throw new Error(`${path} answers ${response.status}`);
    return response.text();
  };
  try {
    const [mode, configz, metrics] = await Promise.all([get('/proxyMode'), get('/configz'), get('/metrics')]);
    const [config] = Object.values(JSON.parse(configz) as Record<string, Record<string, unknown>>);
    return { mode: mode.trim(), config: config ?? {}, lastSyncSeconds: readLastSyncs(metrics) };
  } catch (error) {
    const { message, cause } = error as Error;
    return `no proxy answers at ${address}: ${cause instanceof Error ? cause.message : message}`;
  }
}

function readLastSyncs(metrics: string): Map<string, number> {
  const all = metrics.matchAll(
    /^kubeproxy_sync_proxy_rules_last_timestamp_seconds\{[^}]*ip_family="(\w+)"[^}]*\} (\S+)$/gm,
  );
  return new Map([...all].map(([, family, seconds]) => [family!, Number(seconds)]));
}

/** What rules depend on; durations and ports, which are written otherwise there, do not matter to a trace. */
const FIELDS = ['clusterCIDR', 'detectLocalMode', 'detectLocal', 'bindAddress', 'nodePortAddresses'] as const;
const SECTION_FIELDS = {
  iptables: ['masqueradeAll', 'masqueradeBit', 'localhostNodePorts'],
  nftables: ['masqueradeAll', 'masqueradeBit'],
  ipvs: ['scheduler', 'excludeCIDRs'],
  conntrack: ['tcpBeLiberal'],
} as const;

/** The configuration with what the running proxy says of its own in place. */
export function withRunningConfig(
  config: KubeProxyConfiguration,
  running: RunningProxy['config'],
): KubeProxyConfiguration {
  const merged: Record<string, unknown> = { ...config };
  for (const field of FIELDS) if (field in running) merged[field] = running[field];
  for (const [section, fields] of Object.entries(SECTION_FIELDS)) {
    const theirs = running[section] as Record<string, unknown> | undefined;
    const ours = merged[section] as Record<string, unknown>;
    if (theirs && ours)
      merged[section] = {
        ...ours,
        ...Object.fromEntries(fields.flatMap((field) => (field in theirs ? [[field, theirs[field]]] : []))),
      };
  }
  return merged as unknown as KubeProxyConfiguration;
}
