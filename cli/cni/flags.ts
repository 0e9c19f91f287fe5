import { CNI_MODES, type CniMode } from '../../cni/invoke/network-choice.ts';
import { UserError } from '../output/failure.ts';

/** Which network pods get, as it is given on the command line. */
export interface CniFlags {
  cni: string;
  cniConfDir: string;
  /** Commas between. */
  cniBinDir: string;
  cniCacheDir: string;
}

/** kubelet's names, from when it called plugins itself, and its places. */
export const cniDefaults = { cni: 'auto', cniConfDir: '/etc/cni/net.d', cniBinDir: '/opt/cni/bin' } as const;

/** libcni's place for what is attached: a node that was another runtime's goes on with it. */
export const nodeCniDefaults = { ...cniDefaults, cniCacheDir: '/var/lib/cni' } as const;

export const CNI_FLAGS: [flag: string, text: string, fallback?: string][] = [
  [
    '--cni <mode>',
    "pods' network: directory (what --cni-conf-dir says), builtin (Berth's own), auto (the directory if it says something)",
    cniDefaults.cni,
  ],
  ['--cni-conf-dir <dir>', 'network configurations: the first by name that can be used', cniDefaults.cniConfDir],
  ['--cni-bin-dir <dirs>', "programs of network plugins, commas between; Berth's own need none", cniDefaults.cniBinDir],
];

/** @throws UserError */
export function parseCniMode(text: string): CniMode {
  const mode = CNI_MODES.find((one) => one === text);
  if (mode) return mode;
  throw new UserError(`--cni ${text}: one of ${CNI_MODES.join(', ')}`);
}

export function parseBinDirs(text: string): string[] {
  return text
    .split(',')
    .map((one) => one.trim())
    .filter(Boolean);
}
