import { type Attribute, readU32, u32 } from './attributes.ts';
import type { Link } from './links.ts';

const IFLA_VRF_TABLE = 1;

/** What a link of the kind `vrf` is made with: the routing table of the links that have it for a master. */
export function vrfData(spec: { table: number }): Attribute[] {
  return [u32(IFLA_VRF_TABLE, spec.table)];
}

/** undefined for a link that is none. */
export function vrfTableOf(link: Link): number | undefined {
  const data = link.kind === 'vrf' ? link.data?.get(IFLA_VRF_TABLE) : undefined;
  return data && readU32(data);
}
