import { tooManyRequests } from './status-error.ts';

/** Bounds how many requests are worked on at once; streams (watch, log -f) don't count, as upstream. */
export interface InFlight {
  /** Takes a place and returns its release; throws 429 when there is none. */
  enter(kind: 'readOnly' | 'mutating'): () => void;
  count(kind: 'readOnly' | 'mutating'): number;
}

export function createInFlight(limits: { readonly readOnly: number; readonly mutating: number }): InFlight {
  const counts = { readOnly: 0, mutating: 0 };
  return {
    count: (kind) => counts[kind],
    enter(kind) {
      if (counts[kind] >= limits[kind]) throw tooManyRequests('Too many requests, please try again later.', 1);
      counts[kind]++;
      let left = false;
      return () => {
        if (!left) counts[kind]--;
        left = true;
      };
    },
  };
}
