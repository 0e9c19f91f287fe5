import type { BackendFields } from '../backend-fields.ts';

/** net-conf.json's `Backend` of type ipip. */
export interface IpipOptions {
  /** Nodes that are reached without a router are reached without IPIP too. */
  directRouting: boolean;
}

/** @throws ExplainedError naming key and value. */
export function readIpipOptions(fields: BackendFields): IpipOptions {
  return { directRouting: fields.flag('DirectRouting') };
}
