import { createHash } from 'node:crypto';
import type { Pod } from '../../src/kube/types.ts';
import { timestamp } from '../../src/runtime/clock.ts';
import { ANNOTATION } from '../pods/annotations.ts';
import { ManifestError } from './manifest.ts';
import { applyStaticPodDefaults } from './static-pod-defaults.ts';
import { checkStaticPod } from './static-pod-rules.ts';

export interface StaticPodContext {
  nodeName: string;
  source: 'file' | 'http';
  /** The file, or the URL. */
  origin: string;
  nowMs: number;
}

/**
 * A manifest's pod as a pod of this node: checked, defaulted, with the stable UID that its content and place give it (sheet §2). The same
 * content at the same place is the same pod, however it is written down; any change makes another one.
 *
 * @param manifest as `parseManifest` returns it. @throws ManifestError that names the fields.
 */
export function buildStaticPod(manifest: Pod, context: StaticPodContext): Pod {
  const problems = checkStaticPod(manifest);
  if (problems.length > 0) throw new ManifestError(problems.join('; '));
  const pod = structuredClone(manifest);
  const { nodeName, source, nowMs } = context;
  const uid = pod.metadata.uid || contentUid(manifest, context);
  const seen = new Date(nowMs).toISOString();
  pod.metadata = {
    ...pod.metadata,
    name: `${pod.metadata.name}-${nodeName.toLowerCase()}`,
    namespace: pod.metadata.namespace || 'default',
    uid,
    resourceVersion: '',
    creationTimestamp: timestamp(nowMs),
    annotations: {
      ...pod.metadata.annotations,
      [ANNOTATION.source]: source,
      [ANNOTATION.hash]: uid,
      [ANNOTATION.seen]: seen,
    },
  };
  pod.spec.nodeName = nodeName;
  // Trouble of the node must not evict what its owner put there; upstream gives this to files only.
  if (source === 'file')
    pod.spec.tolerations = [...(pod.spec.tolerations ?? []), { operator: 'Exists', effect: 'NoExecute' }];
  applyStaticPodDefaults(pod);
  pod.status = { phase: 'Pending' };
  return pod;
}

/** 32 hex digits; a file's differ from node to node, a URL's do not (its pod is the same everywhere). */
function contentUid(manifest: Pod, { nodeName, source, origin }: StaticPodContext): string {
  const place = source === 'file' ? `host:${nodeName.toLowerCase()}\0file:${origin}` : `url:${origin}`;
  return createHash('md5')
    .update(`${canonical(manifest)}\0${place}`)
    .digest('hex');
}

/** JSON with sorted keys. */
function canonical(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonical).join()}]`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value) ?? 'null';
  const entries = Object.entries(value).filter(([, one]) => one !== undefined);
  entries.sort(([a], [b]) => (a < b ? -1 : 1));
  return `{${entries.map(([key, one]) => `${JSON.stringify(key)}:${canonical(one)}`).join()}}`;
}
