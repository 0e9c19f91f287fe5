/** The testing ladder: each rung stands on more of the real thing than the one before. */
export interface Rung {
  name: string;
  /** Folders below test/ whose *.test.ts files belong to it. */
  folders: string[];
  /** Runs inside a host of its own (private network, mounts, pids, cgroups), one file at a time. */
  inHost: boolean;
  /** Only with --full. */
  long?: boolean;
}

export const rungs: Rung[] = [
  { name: 'unit', folders: ['unit', 'golden'], inHost: false },
  { name: 'contract', folders: ['contract'], inHost: true },
  { name: 'netns', folders: ['netns'], inHost: true },
  { name: 'docker', folders: ['docker'], inHost: true },
  { name: 'e2e', folders: ['e2e', 'faults'], inHost: true },
];
