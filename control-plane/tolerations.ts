import type { Taint, Toleration } from '../src/kube/types.ts';

/** Whether a toleration covers a taint: an empty key with Exists covers all, an empty effect all effects. */
export function tolerates(toleration: Toleration, taint: Taint): boolean {
  if (toleration.effect && toleration.effect !== taint.effect) return false;
  if (toleration.key && toleration.key !== taint.key) return false;
  switch (toleration.operator ?? 'Equal') {
    case 'Exists':
      return true;
    case 'Equal':
      return Boolean(toleration.key) && (toleration.value ?? '') === (taint.value ?? '');
    case 'Gt':
    case 'Lt': {
      const [bound, value] = [Number(toleration.value), Number(taint.value)];
      if (!Number.isInteger(bound) || !Number.isInteger(value)) return false;
      return toleration.operator === 'Gt' ? value > bound : value < bound;
    }
    default:
      return false;
  }
}

export function isTolerated(taint: Taint, tolerations: readonly Toleration[] | undefined): boolean {
  return (tolerations ?? []).some((toleration) => tolerates(toleration, taint));
}

/**
 * When a pod must leave a node with these NoExecute taints: milliseconds since the epoch, 0 = at once, undefined = never.
 * A taint without timeAdded counts from `nowMs`.
 */
export function evictionTimeMs(
  taints: readonly Taint[],
  tolerations: readonly Toleration[] | undefined,
  nowMs: number,
): number | undefined {
  let earliest: number | undefined;
  for (const taint of taints) {
    if (taint.effect !== 'NoExecute') continue;
    const matching = (tolerations ?? []).filter((toleration) => tolerates(toleration, taint));
    if (matching.length === 0) return 0;
    const seconds = matching.map(({ tolerationSeconds }) => tolerationSeconds ?? Number.POSITIVE_INFINITY);
    const shortest = Math.min(...seconds);
    if (shortest === Number.POSITIVE_INFINITY) continue;
    const since = taint.timeAdded ? Date.parse(taint.timeAdded) : nowMs;
    const leaveMs = shortest <= 0 ? 0 : since + shortest * 1000;
    earliest = Math.min(earliest ?? leaveMs, leaveMs);
  }
  return earliest;
}
