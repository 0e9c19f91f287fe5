import type { Pod } from '../../src/kube/types.ts';
import type { Clock } from '../../src/runtime/clock.ts';
import type { Logger } from '../../src/runtime/log.ts';
import { podKey } from '../containers/identity.ts';
import { type ManifestItem, parseManifest } from './manifest.ts';
import { buildStaticPod, type StaticPodContext } from './static-pod.ts';

/** What was found at one place: its text, or why there is none. */
export type ManifestText = { origin: string } & ({ text: string } | { problem: string });

/**
 * Hears what is wrong with a manifest, once for each problem; undefined: it is fine again, or gone.
 * @param origin the file, or the URL. @param problem names the fields.
 */
export type ManifestProblems = (origin: string, problem: string | undefined) => void;

export interface StaticPodSetOptions extends Omit<StaticPodContext, 'origin' | 'nowMs'> {
  /** Whether a text may hold a PodList. */
  lists: boolean;
}

interface Candidate {
  origin: string;
  /** Names the item in its text. */
  id: string;
  pod: Pod;
}

/**
 * Makes the static pods of all manifests of one source. A manifest with a mistake is named and left out; where an earlier version of it runs,
 * that goes on as long as the manifest is there: half a file, seen while it was written, must not end what works.
 */
export function createStaticPodSet(
  options: StaticPodSetOptions,
  deps: { clock: Clock; log: Logger; problems?: ManifestProblems | undefined },
): { update(texts: readonly ManifestText[]): Pod[] } {
  const { clock, log } = deps;
  let running = new Map<string, Candidate>();
  let reported = new Map<string, string>();

  /** The items of a text as pods; what cannot be used is reported and stands in with its earlier version. */
  function candidatesOf(text: ManifestText, report: (id: string, problem: string) => void): Candidate[] {
    const { origin } = text;
    const earlier = [...running.values()].filter((one) => one.origin === origin);
    if ('problem' in text) {
      report(origin, text.problem);
      return earlier;
    }
    let items: ManifestItem[];
    try {
      items = parseManifest(text.text, options);
    } catch (error) {
      report(origin, (error as Error).message);
      return earlier;
    }
    return items.flatMap((item) => {
      const id = item.path === '' ? origin : `${origin} ${item.path}`;
      try {
        if (!item.pod) throw new Error(item.problem);
        return [{ origin, id, pod: buildStaticPod(item.pod, { ...options, origin, nowMs: clock.nowMs() }) }];
      } catch (error) {
        report(id, (error as Error).message);
        return earlier.filter(
          (one) => item.path === '' || podKey(one.pod) === `${item.key}-${options.nodeName.toLowerCase()}`,
        );
      }
    });
  }

  function update(texts: readonly ManifestText[]): Pod[] {
    const problems = new Map<string, string>();
    const report = (id: string, problem: string) => void problems.set(id, problem);
    const next = new Map<string, Candidate>();
    const uids = new Map<string, string>();
    // What runs keeps its name against a newcomer.
    const incumbent = ({ origin, pod }: Candidate) => running.get(podKey(pod))?.origin === origin;
    const candidates = texts.flatMap((text) => candidatesOf(text, report));
    for (const candidate of [...candidates.filter(incumbent), ...candidates.filter((one) => !incumbent(one))]) {
      const { id, pod } = candidate;
      const key = podKey(pod);
      const { uid } = pod.metadata;
      const taken = next.get(key);
      if (taken) {
        report(id, `metadata.name: ${taken.id} makes pod ${key} already`);
        continue;
      }
      if (uids.has(uid)) {
        report(id, `metadata.uid: ${uids.get(uid)} has the same`);
        continue;
      }
      uids.set(uid, id);
      const before = running.get(key);
      // An unchanged manifest stays the very same pod, with the time it was first seen.
      next.set(key, before?.pod.metadata.uid === uid && before.origin === candidate.origin ? before : candidate);
    }
    announce(problems, next);
    running = next;
    return [...next.values()].map(({ pod }) => pod);
  }

  function announce(problems: Map<string, string>, next: ReadonlyMap<string, Candidate>) {
    const goesOn = new Set([...next.values()].filter((one) => [...running.values()].includes(one)).map(({ id }) => id));
    for (const [origin, problem] of problems) {
      if (reported.get(origin) === problem) continue;
      const rest = goesOn.has(origin) ? ' (its earlier version goes on)' : '';
      log.error({ origin }, `static pod manifest ignored: ${problem}${rest}`);
      deps.problems?.(origin, problem);
    }
    for (const origin of reported.keys())
      if (!problems.has(origin)) {
        log.info({ origin }, 'nothing is wrong with this static pod manifest any more');
        deps.problems?.(origin, undefined);
      }
    reported = problems;
  }

  return { update };
}
