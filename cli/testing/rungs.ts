/** The testing ladder: each rung stands on more of the real thing than the one before. */
export interface Rung {
  name: string;
  /**
   * Rungs of one lane run one after another, lanes beside each other once the lane `first` is through: real parts mostly wait (two
   * processors were three quarters idle when the rungs ran in a row), and each rung is in hosts of its own.
   */
  lane: 'first' | 'parts' | 'clusters';
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
  { name: 'unit', lane: 'first', folders: ['unit', 'golden'], serial: false, place: 'here' },
  { name: 'contract', lane: 'parts', folders: ['contract'], serial: true, place: 'host' },
  { name: 'netns', lane: 'parts', folders: ['netns'], serial: true, place: 'host' },
  { name: 'docker', lane: 'parts', folders: ['docker'], serial: true, place: 'host' },
  { name: 'uml', lane: 'parts', folders: ['uml', 'contract/cgroup', 'contract/ipvs'], serial: true, place: 'uml' },
  { name: 'e2e', lane: 'clusters', folders: ['e2e', 'faults'], serial: true, place: 'here' },
  { name: 'guest', lane: 'clusters', folders: ['guest'], serial: true, place: 'here' },
];
