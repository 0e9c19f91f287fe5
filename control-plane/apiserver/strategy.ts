import { isDeepStrictEqual } from 'node:util';
import type { KubeObject } from '../../src/kube/types.ts';

type WithSpec = KubeObject & { spec?: unknown };

/** The usual `generationChanged`: anything in spec differs. */
export function specChanged(object: KubeObject, old: KubeObject): boolean {
  return !isDeepStrictEqual((object as WithSpec).spec, (old as WithSpec).spec);
}
