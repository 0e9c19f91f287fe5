import type { BackendFields } from '../backend-fields.ts';

/** net-conf.json's `Backend` of type udp. */
export interface UdpOptions {
  /** Of all nodes. */
  port: number;
}

/** @throws ExplainedError naming key and value. */
export function readUdpOptions(fields: BackendFields): UdpOptions {
  return { port: fields.whole('Port', { min: 1, max: 65_535, otherwise: 8285 }) };
}
