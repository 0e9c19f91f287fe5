/** The testing ladder: each rung stands on more of the real thing than the one before. */
export interface Rung {
  name: string;
  /** Folders below test/ whose *.test.ts files belong to it. */
  folders: string[];
  /** Uses the real kernel and Engine: its files run one at a time. */
  serial: boolean;
  /** Runs inside a host of its own (private network, mounts, pids, cgroups). The e2e rung makes its hosts itself. */
  inHost: boolean;
}

export const rungs: Rung[] = [
  { name: 'unit', folders: ['unit', 'golden'], serial: false, inHost: false },
  { name: 'contract', folders: ['contract'], serial: true, inHost: true },
  { name: 'netns', folders: ['netns'], serial: true, inHost: true },
  { name: 'docker', folders: ['docker'], serial: true, inHost: true },
  { name: 'e2e', folders: ['e2e', 'faults'], serial: true, inHost: false },
  { name: 'guest', folders: ['guest'], serial: true, inHost: false },
];
