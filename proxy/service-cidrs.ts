import type { KubeObject } from '../src/kube/types.ts';
import type { ObjectSource } from './feed.ts';

/** As much of networking.k8s.io/v1 ServiceCIDR as counts here. */
export interface ServiceCidr extends KubeObject {
  spec: { cidrs?: readonly string[] };
}

/**
 * Tells all blocks of all ServiceCIDRs, sorted, whenever they change. Those that are being deleted count until they are gone: their
 * Services are still there. @returns unsubscribe
 */
export function followServiceCidrs(
  source: ObjectSource<ServiceCidr> | undefined,
  onChange: (cidrs: readonly string[]) => void,
): () => void {
  const blocks = new Map<string, readonly string[]>();
  let told = '';
  const tell = () => {
    const all = [...new Set([...blocks.values()].flat())].sort();
    if (all.join() === told) return;
    told = all.join();
    onChange(all);
  };
  const set = ({ metadata, spec }: ServiceCidr) => {
    blocks.set(metadata.name, spec?.cidrs ?? []);
    tell();
  };
  const stop = source?.subscribe({
    added: set,
    updated: (_old, one) => set(one),
    deleted({ metadata }) {
      blocks.delete(metadata.name);
      tell();
    },
  });
  return stop ?? (() => {});
}
