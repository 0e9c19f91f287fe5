import type { AnswerBody } from './answer.ts';
import { addressOfPodLabel } from './pod-records.ts';
import { type DnsRecord, encodeRecord } from './records.ts';
import { RCODE, TYPE, typeName } from './wire.ts';
import type { Zone, ZoneName } from './zone.ts';
import { serverName } from './zone-names.ts';

/** What the zone knows of a question. */
export type Resolution =
  | { kind: 'answer'; body: AnswerBody }
  /** An ExternalName leads out of the zone: `body` has the alias; what `target` has belongs behind it. */
  | { kind: 'alias'; body: AnswerBody; target: string }
  /** None of the zone's names. */
  | { kind: 'elsewhere' };

export interface ResolverOptions {
  ttlSeconds: number;
  /** How long clients may remember that a name is not there. */
  negativeTtlSeconds: number;
  /** Seconds since the epoch when the server started: serial numbers go on from it. */
  startedSeconds: number;
}

/** ExternalNames of ExternalNames: nobody needs more, and a circle ends. */
const MAX_ALIASES = 8;
const ELSEWHERE: Resolution = { kind: 'elsewhere' };

/** Answers questions from the zone. Bodies are encoded once and kept until the name changes. */
export function createResolver(zone: Zone, options: ResolverOptions) {
  const { domain } = zone;
  const podSuffix = `.pod.${domain}`;
  const kept = new WeakMap<ZoneName, Map<number, Resolution>>();
  let soa: { version: number; record: Buffer } = { version: -1, record: Buffer.alloc(0) };

  function soaRecord(owner?: string): Buffer {
    return encodeRecord(
      {
        type: 'SOA',
        ttlSeconds: options.negativeTtlSeconds,
        data: {
          mname: serverName(domain),
          rname: `hostmaster.${domain}`,
          serial: (options.startedSeconds + zone.version()) >>> 0,
          refresh: 7200,
          retry: 1800,
          expire: 86_400,
          minimum: options.negativeTtlSeconds,
        },
      },
      owner,
    );
  }

  /** NXDOMAIN, or NOERROR without records, with the SOA that says how long this holds. */
  function negative(rcode: number, answers: Buffer[] = []): Resolution {
    if (soa.version !== zone.version()) soa = { version: zone.version(), record: soaRecord(domain) };
    return { kind: 'answer', body: { rcode, authoritative: true, answers, authority: [soa.record], additional: [] } };
  }

  function positive(answers: Buffer[], additional: Buffer[] = [], rotates = false): Resolution {
    const body = { rcode: RCODE.NOERROR, authoritative: true, answers, authority: [], additional, rotates };
    return { kind: 'answer', body };
  }

  function fromName(found: ZoneName, name: string, type: number): Resolution {
    if (name === domain && (type === TYPE.SOA || type === TYPE.ANY)) return positive([soaRecord()]);
    const alias = found.records.find((record) => record.type === 'CNAME');
    if (alias && type !== TYPE.CNAME && type !== TYPE.ANY) return followed(alias, type);
    const records = recordsOf(found, type);
    if (records.length === 0) return negative(RCODE.NOERROR);
    const isAddress = type === TYPE.A || type === TYPE.AAAA;
    return positive(
      records.map((record) => encodeRecord(record)),
      type === TYPE.SRV ? targetAddresses(records) : [],
      isAddress,
    );
  }

  /** The alias, and behind it what it leads to, as far as that is in the zone. */
  function followed(alias: DnsRecord, type: number): Resolution {
    const answers = [encodeRecord(alias)];
    let target = alias.data as string;
    for (let hops = 0; hops < MAX_ALIASES; hops++) {
      if (!zone.contains(target)) {
        const body = { ...emptyAnswer, answers };
        return { kind: 'alias', body, target };
      }
      const found = zone.find(target);
      if (!found) return negative(RCODE.NXDOMAIN, answers);
      const next = found.records.find((record) => record.type === 'CNAME');
      const records = next ? [next] : recordsOf(found, type);
      for (const record of records) answers.push(encodeRecord(record, target));
      if (!next) return records.length > 0 ? positive(answers) : negative(RCODE.NOERROR, answers);
      target = next.data as string;
    }
    return { kind: 'answer', body: { ...emptyAnswer, rcode: RCODE.SERVFAIL } };
  }

  /** So that clients of SRV need not ask for the targets' addresses. */
  function targetAddresses(records: readonly DnsRecord[]): Buffer[] {
    const targets = new Set(records.map((record) => (record.type === 'SRV' ? record.data.target : '')));
    return [...targets].flatMap((target) =>
      (zone.find(target)?.records ?? [])
        .filter(({ type }) => type === 'A' || type === 'AAAA')
        .map((record) => encodeRecord(record, target)),
    );
  }

  function fromPodName(name: string, type: number): Resolution {
    const [label = '', namespace = '', ...more] = name.slice(0, -podSuffix.length).split('.');
    const found = more.length === 0 && zone.find(`${namespace}${podSuffix}`) ? addressOfPodLabel(label) : undefined;
    if (!found) return negative(RCODE.NXDOMAIN);
    if (TYPE[found.type] !== type && type !== TYPE.ANY) return negative(RCODE.NOERROR);
    return positive([encodeRecord({ type: found.type, data: found.address, ttlSeconds: options.ttlSeconds })]);
  }

  return {
    /** `name` in lower case without the final dot; `type` by number. */
    resolve(name: string, type: number): Resolution {
      const found = zone.find(name);
      if (!found) {
        if (!zone.contains(name)) return ELSEWHERE;
        return name.endsWith(podSuffix) ? fromPodName(name, type) : negative(RCODE.NXDOMAIN);
      }
      let byType = kept.get(found);
      const known = byType?.get(type);
      if (known) return known;
      const resolution = fromName(found, name, type);
      // Only what follows from this name's records alone may be kept with them.
      if (resolution.kind !== 'answer' || !resolution.body.rotates) return resolution;
      byType ??= new Map();
      byType.set(type, resolution);
      kept.set(found, byType);
      return resolution;
    },
  };
}

export type Resolver = ReturnType<typeof createResolver>;

const emptyAnswer: AnswerBody = {
  rcode: RCODE.NOERROR,
  authoritative: true,
  answers: [],
  authority: [],
  additional: [],
};

/** Who asks for ANY gets the records of one type (RFC 8482). */
function recordsOf(found: ZoneName, type: number): DnsRecord[] {
  const wanted = type === TYPE.ANY ? found.records[0]?.type : typeName(type);
  return found.records.filter((record) => record.type === wanted);
}
