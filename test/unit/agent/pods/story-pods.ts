import type { Pod } from '../../../../src/kube/types.ts';
import { podOf } from '../pod.ts';

/** A pod that the fake Engine can run. */
export function pod(spec: Partial<Pod['spec']> = {}, metadata: Partial<Pod['metadata']> = {}): Pod {
  const withImage = <T extends { name: string }>(list: readonly T[] | undefined) =>
    list?.map((container) => ({ image: 'busybox:1', ...container }));
  const { initContainers, ephemeralContainers } = spec;
  return podOf(
    {
      terminationGracePeriodSeconds: 30,
      dnsPolicy: 'Default',
      ...spec,
      containers: withImage(spec.containers ?? [{ name: 'app' }])!,
      ...(initContainers && { initContainers: withImage(initContainers)! }),
      ...(ephemeralContainers && { ephemeralContainers: withImage(ephemeralContainers)! }),
    },
    metadata,
  );
}

/** The pod as the API has it when its deletion was asked for. */
export const deleted = (one: Pod, graceSeconds: number): Pod => ({
  ...one,
  metadata: { ...one.metadata, deletionTimestamp: '2026-01-01T00:00:30Z', deletionGracePeriodSeconds: graceSeconds },
});
