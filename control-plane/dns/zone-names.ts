import type { NamedRecords, RecordOptions } from './service-records.ts';

/** The version of the Kubernetes DNS specification that the zone follows. */
const SCHEMA_VERSION = '1.1.0';

/** The names that the zone has before there is any Service. `serverAddress` is the DNS server's own, where clients find it. */
export function apexNames(
  options: RecordOptions & { serverAddress: string; serverAddressType: 'A' | 'AAAA' },
): NamedRecords[] {
  const { domain, ttlSeconds } = options;
  return [
    { name: domain, records: [{ type: 'NS', data: serverName(domain), ttlSeconds }] },
    {
      name: serverName(domain),
      records: [{ type: options.serverAddressType, data: options.serverAddress, ttlSeconds }],
    },
    { name: `dns-version.${domain}`, records: [{ type: 'TXT', data: SCHEMA_VERSION, ttlSeconds }] },
    { name: `svc.${domain}`, records: [] },
    { name: `pod.${domain}`, records: [] },
  ];
}

/** A namespace exists below `svc` and `pod`, also before it has any Service. */
export function namespaceNames(namespace: string, { domain }: RecordOptions): NamedRecords[] {
  return [
    { name: `${namespace}.svc.${domain}`, records: [] },
    { name: `${namespace}.pod.${domain}`, records: [] },
  ];
}

export function serverName(domain: string): string {
  return `ns.dns.${domain}`;
}
