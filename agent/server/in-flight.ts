/** Who waits for an answer, by how long that may take. */
export type RequestKind =
  /** It is not yet known who asks. */
  | 'unknown'
  | 'short'
  /** Lives until one side has enough: followed logs, exec, attach, port-forward. */
  | 'long';

/** Bounds what is worked on at once. */
export interface InFlight {
  /** Takes a place and returns its release, which may be called twice; undefined when there is none. */
  enter(kind: RequestKind): (() => void) | undefined;
}

/**
 * Places on one node: a cluster's scrapers and API servers need a handful. Short answers are held whole, so that their number bounds memory;
 * of long ones there is little more than their connections.
 */
const PLACES: Record<RequestKind, number> = { unknown: 200, short: 100, long: 1000 };

export function createInFlight(wanted: Partial<Record<RequestKind, number>> = {}): InFlight {
  const places = { ...PLACES, ...wanted };
  const taken: Record<RequestKind, number> = { unknown: 0, short: 0, long: 0 };
  return {
    enter(kind) {
      if (taken[kind] >= places[kind]) return undefined;
      taken[kind]++;
      let isReleased = false;
      return () => {
        if (!isReleased) taken[kind]--;
        isReleased = true;
      };
    },
  };
}
