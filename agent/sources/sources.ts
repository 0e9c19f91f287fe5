import type { Informer } from '../../src/kube/informer.ts';
import type { Pod } from '../../src/kube/types.ts';
import type { Clock } from '../../src/runtime/clock.ts';
import type { Logger } from '../../src/runtime/log.ts';
import { createApiSource } from './api.ts';
import { createFileSource } from './file.ts';
import { createHttpSource } from './http.ts';
import type { PodSource } from './source.ts';
import type { ManifestProblems } from './static-set.ts';

export interface SourcesOptions {
  nodeName: string;
  /** Directory or file of static pods; none without it. */
  staticPodPath?: string;
  fileCheckMs: number;
  /** Where static pods are fetched from; none without it. */
  staticPodUrl?: string;
  staticPodUrlHeaders: Readonly<Record<string, readonly string[]>>;
  httpCheckMs: number;
}

export interface SourcesDependencies {
  /** Pods with spec.nodeName of this node; absent without an API server. */
  podInformer?: Informer<Pod>;
  /** Resolves when what the API's pods need beside themselves is known: services, for their environment. */
  apiReady?: (signal: AbortSignal) => Promise<void>;
  manifestProblems?: ManifestProblems;
  clock: Clock;
  log: Logger;
}

/** The sources that this agent is told to have. */
export function createSources(options: SourcesOptions, deps: SourcesDependencies): PodSource[] {
  const { nodeName, staticPodPath, staticPodUrl } = options;
  const { clock, log, manifestProblems: problems, podInformer } = deps;
  const sources: PodSource[] = [];
  if (staticPodPath)
    sources.push(
      createFileSource({ path: staticPodPath, nodeName, rescanMs: options.fileCheckMs }, { clock, log, problems }),
    );
  if (staticPodUrl)
    sources.push(
      createHttpSource(
        { url: staticPodUrl, headers: options.staticPodUrlHeaders, nodeName, checkMs: options.httpCheckMs },
        { clock, log, problems },
      ),
    );
  if (podInformer) sources.push(createApiSource(podInformer, clock, deps.apiReady));
  return sources;
}
