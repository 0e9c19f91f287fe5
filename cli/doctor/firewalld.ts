import { createFirewalld } from '../../cni/firewall/firewalld.ts';
import type { Finding } from './finding.ts';

/** Of a firewalld that runs: which of the pods' ranges it has in no zone, and so rejects. */
export interface FirewalldFacts {
  zonelessCidrs: readonly string[];
}

/** undefined where none runs, or it does not answer. */
export async function readFirewalld(podCidrs: readonly string[]): Promise<FirewalldFacts | undefined> {
  const firewalld = createFirewalld();
  try {
    if (!(await firewalld.isRunning())) return undefined;
    return { zonelessCidrs: await firewalld.findZoneless(podCidrs) };
  } catch {
    return undefined;
  }
}

/** Pure. */
export function judgeFirewalld(facts: FirewalldFacts | undefined, isRunning: boolean): Finding[] {
  const check = 'firewalld';
  if (!facts) return [];
  const [first] = facts.zonelessCidrs;
  if (first === undefined || !isRunning)
    return [
      {
        check,
        state: 'ok',
        detail: `runs${isRunning ? ', and lets pods pass' : ''}; its zones decide which ports other machines reach (10250/tcp, the overlay's)`,
      },
    ];
  return [
    {
      check,
      state: 'problem',
      detail: `${facts.zonelessCidrs.join(', ')} is in none of its zones: it rejects what pods send`,
      remedy: `the node's log says why it was not trusted; by hand: firewall-cmd --zone=trusted --add-source=${first}`,
    },
  ];
}
