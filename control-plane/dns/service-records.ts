import { isIP } from 'node:net';
import type { EndpointSlice, Service } from '../../src/kube/types.ts';
import type { DnsRecord } from './records.ts';
import { reverseName } from './reverse.ts';

/** What one name of the zone says. */
export interface NamedRecords {
  /** Lower case, without the final dot. */
  name: string;
  records: DnsRecord[];
}

export interface RecordOptions {
  /** `cluster.local` */
  domain: string;
  ttlSeconds: number;
}

type SlicePart = Pick<EndpointSlice, 'addressType' | 'endpoints' | 'ports'>;

/** All names of a Service (DNS specification 1.1.0): its own, its ports', its endpoints' when it is headless, and those of its addresses. */
export function computeServiceRecords(
  service: Service,
  slices: readonly SlicePart[],
  options: RecordOptions,
): NamedRecords[] {
  const { metadata, spec } = service;
  const base = `${metadata.name}.${metadata.namespace}.svc.${options.domain}`;
  const records = createRecordList(options.ttlSeconds);
  if (spec.type === 'ExternalName') {
    const target = (spec.externalName ?? '').toLowerCase().replace(/\.$/, '');
    // An address is no name: upstream's server has no record for it either.
    if (target && isIP(target) === 0) records.add(base, { type: 'CNAME', data: target });
    return records.list();
  }
  if (spec.clusterIP === 'None') {
    const notReadyToo = spec.publishNotReadyAddresses === true;
    for (const slice of slices) addHeadless(records, base, slice, notReadyToo);
    records.shareWeights();
    return records.list();
  }
  for (const address of clusterIps(service)) {
    records.add(base, addressRecord(address));
    records.add(reverseName(address) ?? '', { type: 'PTR', data: base });
  }
  if (!records.has(base)) return [];
  for (const { name, protocol = 'TCP', port } of spec.ports ?? [])
    if (name) records.add(portName(name, protocol, base), serviceRecord(port, base));
  records.shareWeights();
  return records.list();
}

function addHeadless(records: RecordList, base: string, slice: SlicePart, notReadyToo: boolean): void {
  if (slice.addressType === 'FQDN') return;
  for (const { addresses, conditions, hostname } of slice.endpoints ?? []) {
    if (conditions?.ready === false && !notReadyToo) continue;
    for (const address of addresses) {
      if (isIP(address) === 0) continue;
      // Endpoints without a host name of their own are known by their address, as upstream's server has it.
      const host = `${hostname?.toLowerCase() || address.replaceAll(/[.:]/g, '-')}.${base}`;
      records.add(base, addressRecord(address));
      records.add(host, addressRecord(address));
      records.add(reverseName(address) ?? '', { type: 'PTR', data: host });
      for (const { name, protocol = 'TCP', port } of slice.ports ?? [])
        if (name && port) records.add(portName(name, protocol, base), serviceRecord(port, host));
    }
  }
}

function clusterIps({ spec }: Service): string[] {
  const all = spec.clusterIPs?.length ? spec.clusterIPs : [spec.clusterIP ?? ''];
  return all.filter((address) => isIP(address) !== 0);
}

type Content = DnsRecord extends infer R ? (R extends DnsRecord ? Omit<R, 'ttlSeconds'> : never) : never;

function addressRecord(address: string): Content {
  return { type: isIP(address) === 4 ? 'A' : 'AAAA', data: address };
}

function portName(name: string, protocol: string, base: string): string {
  return `_${name}._${protocol}.${base}`.toLowerCase();
}

function serviceRecord(port: number, target: string): Content {
  return { type: 'SRV', data: { priority: 0, weight: 100, port, target } };
}

type RecordList = ReturnType<typeof createRecordList>;

/** Records by name; the same one twice (an endpoint in two slices) counts once. */
function createRecordList(ttlSeconds: number) {
  const byName = new Map<string, Map<string, DnsRecord>>();
  return {
    add(name: string, content: Content): void {
      if (name === '') return;
      const records = byName.get(name) ?? new Map<string, DnsRecord>();
      byName.set(name, records);
      records.set(`${content.type} ${JSON.stringify(content.data)}`, { ...content, ttlSeconds } as DnsRecord);
    },
    has: (name: string) => byName.has(name),
    /** Targets of one port are equals: together they weigh 100. */
    shareWeights(): void {
      for (const records of byName.values())
        for (const record of records.values())
          if (record.type === 'SRV') record.data.weight = Math.max(1, Math.floor(100 / records.size));
    },
    list: (): NamedRecords[] => [...byName].map(([name, records]) => ({ name, records: [...records.values()] })),
  };
}
