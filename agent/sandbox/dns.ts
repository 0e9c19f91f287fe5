import type { Pod, PodDNSConfig } from '../../src/kube/types.ts';

const MAX_NAMESERVERS = 3;
const MAX_SEARCHES = 32;
const MAX_SEARCH_CHARACTERS = 2048;

export interface ResolverConfig {
  nameservers: string[];
  searches: string[];
  options: string[];
}

export interface DnsOptions {
  clusterDns: string[];
  clusterDomain: string;
}

export interface PodDns {
  config: ResolverConfig;
  /** Events for people: what was missing or cut. */
  warnings: { reason: 'MissingClusterDNS' | 'DNSConfigForming'; message: string }[];
}

/** Parses resolv.conf(5), the parts that resolvers share. */
export function parseResolvConf(text: string): ResolverConfig {
  const config: ResolverConfig = { nameservers: [], searches: [], options: [] };
  for (const line of text.split('\n')) {
    const [key, ...values] = line
      .replace(/[#;].*$/, '')
      .trim()
      .split(/\s+/);
    if (key === 'nameserver' && values[0]) config.nameservers.push(values[0]);
    // The last search line wins. A trailing dot makes no other domain.
    else if (key === 'search')
      config.searches = values.map((value) => (value === '.' ? value : value.replace(/\.$/, '')));
    else if (key === 'options') config.options.push(...values);
  }
  return config;
}

export function renderResolvConf(config: ResolverConfig): string {
  const lines: string[] = [];
  if (config.searches.length > 0) lines.push(`search ${config.searches.join(' ')}`);
  for (const server of config.nameservers) lines.push(`nameserver ${server}`);
  if (config.options.length > 0) lines.push(`options ${config.options.join(' ')}`);
  return lines.map((line) => `${line}\n`).join('');
}

/** Of a node that has none (`resolvConf: ""`): nothing is resolved, instead of what the image's resolver thinks up. */
export const NO_RESOLVER: ResolverConfig = { nameservers: ['127.0.0.1'], searches: ['.'], options: [] };

/** What a pod's resolv.conf says, by its dnsPolicy and dnsConfig (sheet §9). */
export function computePodDns(pod: Pod, host: ResolverConfig, options: DnsOptions): PodDns {
  const warnings: PodDns['warnings'] = [];
  const policy = effectivePolicy(pod);
  let base: ResolverConfig;
  if (policy === 'None') base = { nameservers: [], searches: [], options: [] };
  else if (policy === 'Default') base = host;
  else if (options.clusterDns.length === 0) {
    warnings.push({
      reason: 'MissingClusterDNS',
      message: `kubelet does not have ClusterDNS IP configured and cannot create Pod using "${pod.spec.dnsPolicy ?? 'ClusterFirst'}" policy. Falling back to "Default" policy.`,
    });
    base = host;
  } else {
    const domain = options.clusterDomain;
    const cluster = domain ? [`${pod.metadata.namespace}.svc.${domain}`, `svc.${domain}`, domain] : [];
    base = {
      nameservers: options.clusterDns,
      searches: unique([...cluster, ...host.searches]),
      options: ['ndots:5'],
    };
  }
  const merged = mergeDnsConfig(base, pod.spec.dnsConfig);
  return { config: limit(merged, warnings), warnings };
}

function effectivePolicy(pod: Pod): 'None' | 'Default' | 'ClusterFirst' {
  const policy = pod.spec.dnsPolicy ?? 'ClusterFirst';
  if (policy === 'None' || policy === 'Default') return policy;
  return policy === 'ClusterFirst' && pod.spec.hostNetwork ? 'Default' : 'ClusterFirst';
}

function mergeDnsConfig(base: ResolverConfig, extra: PodDNSConfig | undefined): ResolverConfig {
  if (!extra) return base;
  const options = new Map(base.options.map((option) => [option.split(':')[0]!, option]));
  for (const { name, value } of extra.options ?? []) if (name) options.set(name, value ? `${name}:${value}` : name);
  return {
    nameservers: unique([...base.nameservers, ...(extra.nameservers ?? [])]),
    searches: unique([...base.searches, ...(extra.searches ?? [])]),
    options: [...options.values()],
  };
}

function limit(config: ResolverConfig, warnings: PodDns['warnings']): ResolverConfig {
  const nameservers = config.nameservers.slice(0, MAX_NAMESERVERS);
  if (nameservers.length < config.nameservers.length)
    warnings.push({
      reason: 'DNSConfigForming',
      message: `Nameserver limits were exceeded, some nameservers have been omitted, the applied nameserver line is: ${nameservers.join(' ')}`,
    });
  let searches = config.searches.slice(0, MAX_SEARCHES);
  while (searches.join(' ').length > MAX_SEARCH_CHARACTERS) searches = searches.slice(0, -1);
  if (searches.length < config.searches.length)
    warnings.push({
      reason: 'DNSConfigForming',
      message: `Search Line limits were exceeded, some search paths have been omitted, the applied search line is: ${searches.join(' ')}`,
    });
  return { nameservers, searches, options: config.options };
}

function unique(values: string[]): string[] {
  return [...new Set(values)];
}
