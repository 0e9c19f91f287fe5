import { encode } from 'dns-packet';
import { HEADER_BYTES } from './wire.ts';

/** A record of the cluster's zone without its owner's name. Names in data have no final dot. */
export type DnsRecord = { ttlSeconds: number } & (
  | { type: 'A' | 'AAAA' | 'CNAME' | 'PTR' | 'NS' | 'TXT'; data: string }
  | { type: 'SRV'; data: { priority: number; weight: number; port: number; target: string } }
  | {
      type: 'SOA';
      data: {
        mname: string;
        rname: string;
        serial: number;
        refresh: number;
        retry: number;
        expire: number;
        minimum: number;
      };
    }
);

/** Where the question's name stands in every message: owners that are that name point to it. */
const QUESTION_NAME = Buffer.from([0xc0, HEADER_BYTES]);

/** The wire form; its owner is `owner`, else the name of the question. */
export function encodeRecord(record: DnsRecord, owner?: string): Buffer {
  const { type, data, ttlSeconds: ttl } = record;
  // The compiler cannot see that type and data belong together.
  const answer = { name: owner ?? '.', type, data, ttl, class: 'IN' } as never;
  const message = encode({ type: 'response', answers: [answer] });
  return owner === undefined
    ? Buffer.concat([QUESTION_NAME, message.subarray(HEADER_BYTES + 1)])
    : Buffer.from(message.subarray(HEADER_BYTES));
}
