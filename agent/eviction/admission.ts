import type { Pod, Toleration } from '../../src/kube/types.ts';
import type { AdmitHandler } from '../pods/admission-ports.ts';
import { isCriticalPod } from '../resources/critical.ts';
import { podQosClass } from '../resources/qos.ts';
import type { PressureCondition } from './signals.ts';

const MEMORY_PRESSURE_TAINT = { key: 'node.kubernetes.io/memory-pressure', effect: 'NoSchedule' };

/**
 * Whether a node under pressure still takes the pod: a critical one always; short of memory alone, all but those that asked for none of it
 * and do not tolerate its lack. Pure.
 */
export function isWelcomeUnderPressure(pod: Pod, conditions: ReadonlySet<PressureCondition>): boolean {
  if (conditions.size === 0 || isCriticalPod(pod)) return true;
  const onlyMemory = conditions.size === 1 && conditions.has('MemoryPressure');
  return (
    onlyMemory && (podQosClass(pod) !== 'BestEffort' || (pod.spec.tolerations ?? []).some(toleratesMemoryPressure))
  );
}

function toleratesMemoryPressure({ key, operator, effect, value }: Toleration): boolean {
  const { key: taint, effect: taintEffect } = MEMORY_PRESSURE_TAINT;
  if (effect && effect !== taintEffect) return false;
  if (key && key !== taint) return false;
  if (operator === 'Exists') return true;
  // The taint has no value.
  return key === taint && (operator === undefined || operator === 'Equal') && !value;
}

/** Keeps pods from a node that would have to evict them again. */
export function createPressureHandler(conditions: () => ReadonlySet<PressureCondition>): AdmitHandler {
  return {
    name: 'eviction',
    admit(pod) {
      const now = conditions();
      if (isWelcomeUnderPressure(pod, now)) return undefined;
      return { reason: 'Evicted', message: `The node had condition: [${[...now].join(' ')}]. ` };
    },
  };
}
