import { type Attribute, readU32, u32 } from './attributes.ts';
import type { Link } from './links.ts';

/** Numbers of linux/if_link.h. */
const IFLA_MACVLAN_MODE = 1;
const IFLA_MACVLAN_BC_QUEUE_LEN = 7;

/** MACVLAN_MODE_* by the names that ip(8) uses. */
export const MACVLAN_MODES = { private: 1, vepa: 2, bridge: 4, passthru: 8 } as const;

export type MacvlanMode = keyof typeof MACVLAN_MODES;

/** What a link of the kind `macvlan` is made with. `broadcastQueueLength` is a wish: the longest of a lower link's is taken for all. */
export function macvlanData(spec: { mode: MacvlanMode; broadcastQueueLength?: number }): Attribute[] {
  const length = spec.broadcastQueueLength;
  return [
    u32(IFLA_MACVLAN_MODE, MACVLAN_MODES[spec.mode]),
    ...(length === undefined ? [] : [u32(IFLA_MACVLAN_BC_QUEUE_LEN, length)]),
  ];
}

/** undefined for a link that is none, or of a mode that we have no name for (`source`). */
export function macvlanModeOf(link: Link): MacvlanMode | undefined {
  const data = link.kind === 'macvlan' ? link.data?.get(IFLA_MACVLAN_MODE) : undefined;
  const number = data && readU32(data);
  return (Object.keys(MACVLAN_MODES) as MacvlanMode[]).find((name) => MACVLAN_MODES[name] === number);
}
