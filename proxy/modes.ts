import { createIptablesMode } from './iptables/mode.ts';
import type { ModeDependencies, ModeName, ProxyMode } from './mode.ts';

type CreateMode = (deps: ModeDependencies) => ProxyMode;

/** The modes that there are. */
export const MODES: Partial<Record<ModeName, CreateMode>> = {
  iptables: createIptablesMode,
};
