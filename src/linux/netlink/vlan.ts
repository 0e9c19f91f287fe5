import { type Attribute, readU16, u16 } from './attributes.ts';
import type { Link } from './links.ts';

const IFLA_VLAN_ID = 1;

/** What a link of the kind `vlan` (802.1Q) is made with. EEXIST when the lower link has one with that id. */
export function vlanData(spec: { id: number }): Attribute[] {
  return [u16(IFLA_VLAN_ID, spec.id)];
}

/** undefined for a link that is none. */
export function vlanIdOf(link: Link): number | undefined {
  const data = link.kind === 'vlan' ? link.data?.get(IFLA_VLAN_ID) : undefined;
  return data && readU16(data);
}
