/** The testing ladder: each rung stands on more of the real thing than the one before. */
export interface Rung {
  name: string;
  /** Folders below test/ whose *.test.ts files belong to it. */
  folders: string[];
  /** Uses the real kernel and Engine: its files run one at a time. */
  serial: boolean;
  /**
   * `here`: on this machine (the e2e rung makes its hosts itself). `host`: inside a host of its own (private network, mounts, pids,
   * cgroups). `uml`: in such a host, in a user-mode-linux guest: another kernel, with cgroup v2.
   */
  place: 'here' | 'host' | 'uml';
}

export const rungs: Rung[] = [
  { name: 'unit', folders: ['unit', 'golden'], serial: false, place: 'here' },
  { name: 'contract', folders: ['contract'], serial: true, place: 'host' },
  { name: 'netns', folders: ['netns'], serial: true, place: 'host' },
  { name: 'docker', folders: ['docker'], serial: true, place: 'host' },
  { name: 'uml', folders: ['uml', 'contract/cgroup'], serial: true, place: 'uml' },
  { name: 'e2e', folders: ['e2e', 'faults'], serial: true, place: 'here' },
  { name: 'guest', folders: ['guest'], serial: true, place: 'here' },
];
