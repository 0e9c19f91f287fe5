import type { KubeObject } from '../../../src/kube/types.ts';

/** StorageObjectInUseProtection (sheet §14): a finalizer from the start, which the protection controllers take away when nobody uses the object. */
export function protectWith({ metadata }: KubeObject, finalizer: string): void {
  const finalizers = metadata.finalizers ?? [];
  if (!finalizers.includes(finalizer)) metadata.finalizers = [...finalizers, finalizer];
}
