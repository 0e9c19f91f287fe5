import { Gauge, type Registry } from '../../src/runtime/metrics.ts';
import type { ManifestProblems } from '../sources/static-set.ts';

/** Shows which static pod manifests are not used, as a series and to whoever else is to hear of them. */
export function createManifestProblems(deps: {
  registry: Registry;
  tell?: (message: string) => void;
}): ManifestProblems {
  const invalid = new Gauge({
    name: 'berth_static_pod_manifest_invalid',
    help: '1 for each static pod manifest that is not used as it is; the log says why.',
    labelNames: ['origin'],
    registers: [deps.registry],
  });
  return (origin, problem) => {
    if (problem === undefined) return invalid.remove({ origin });
    invalid.set({ origin }, 1);
    deps.tell?.(`Static pod manifest ${origin} is not used: ${problem}`);
  };
}
