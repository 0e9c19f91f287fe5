import { type Attribute, readU16, u16 } from './attributes.ts';
import type { Link } from './links.ts';

const IFLA_IPVLAN_MODE = 1;

/** IPVLAN_MODE_* by the names that ip(8) uses. All ipvlan links of one lower link have the same. */
export const IPVLAN_MODES = { l2: 0, l3: 1, l3s: 2 } as const;

export type IpvlanMode = keyof typeof IPVLAN_MODES;

/** What a link of the kind `ipvlan` is made with. */
export function ipvlanData(spec: { mode: IpvlanMode }): Attribute[] {
  return [u16(IFLA_IPVLAN_MODE, IPVLAN_MODES[spec.mode])];
}

/** undefined for a link that is none. */
export function ipvlanModeOf(link: Link): IpvlanMode | undefined {
  const data = link.kind === 'ipvlan' ? link.data?.get(IFLA_IPVLAN_MODE) : undefined;
  const number = data && readU16(data);
  return (Object.keys(IPVLAN_MODES) as IpvlanMode[]).find((name) => IPVLAN_MODES[name] === number);
}
