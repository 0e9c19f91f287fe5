import { createIptablesMode } from './iptables/mode.ts';
import { createIpvsMode } from './ipvs/mode.ts';
import type { ModeDependencies, ModeName, ProxyMode } from './mode.ts';
import { createNftablesMode } from './nftables/mode.ts';
import { createUserspaceMode } from './userspace/mode.ts';

/** The modes that there are. Creating one touches nothing. */
export function createModes(deps: ModeDependencies): Partial<Record<ModeName, ProxyMode>> {
  return {
    iptables: createIptablesMode(deps),
    ipvs: createIpvsMode(deps),
    nftables: createNftablesMode(deps),
    userspace: createUserspaceMode(deps),
  };
}
