import type { Pod } from '../../src/kube/types.ts';
import { timestamp } from '../../src/runtime/clock.ts';
import { claimNameOf } from '../volumes/persistent/claims.ts';
import type { ClaimFigures } from '../volumes/persistent/volume-stats.ts';
import type { VolumeStats } from './summary.ts';

/** The pod's volumes behind claims, as the summary tells them. */
export function podClaims(pod: Pod, claims: Pick<ClaimFigures, 'of'>, nowMs: number): VolumeStats[] {
  const { namespace = '' } = pod.metadata;
  return (pod.spec.volumes ?? []).flatMap((volume) => {
    if (!volume.persistentVolumeClaim && !volume.ephemeral) return [];
    const name = claimNameOf(pod, volume);
    const figures = claims.of(namespace, name);
    if (!figures) return [];
    const { isAbnormal, ...fs } = figures;
    return [
      {
        time: timestamp(nowMs),
        ...fs,
        name: volume.name,
        pvcRef: { name, namespace },
        ...(isAbnormal !== undefined && { volumeHealthStats: { abnormal: isAbnormal } }),
      },
    ];
  });
}
