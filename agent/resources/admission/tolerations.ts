import type { Taint, Toleration } from '../../../src/kube/types.ts';

/** Whether the toleration accepts the taint; an empty key with Exists accepts all, an empty effect any effect. */
export function tolerates(toleration: Toleration, taint: Taint): boolean {
  if (toleration.effect && toleration.effect !== taint.effect) return false;
  if (toleration.key && toleration.key !== taint.key) return false;
  if (toleration.operator === 'Exists') return true;
  return (
    (toleration.operator ?? 'Equal') === 'Equal' && !!toleration.key && (toleration.value ?? '') === (taint.value ?? '')
  );
}
