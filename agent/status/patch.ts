import { isDeepStrictEqual } from 'node:util';
import type { PodCondition, PodStatus } from '../../src/kube/types.ts';
import { isOwnedCondition, RESIZE_CONDITIONS } from './conditions.ts';

/** Fields that the agent writes; what others write (nominatedNodeName, resize, resource claims) is never touched. */
const WRITTEN = [
  'phase',
  'observedGeneration',
  'conditions',
  'reason',
  'message',
  'hostIP',
  'hostIPs',
  'podIP',
  'podIPs',
  'startTime',
  'initContainerStatuses',
  'containerStatuses',
  'ephemeralContainerStatuses',
  'qosClass',
  'resources',
  'allocatedResources',
] as const satisfies readonly (keyof PodStatus)[];

/**
 * The strategic merge patch that turns `live` into `wanted`, with the UID as precondition; undefined when nothing of
 * ours differs. Conditions merge by type, so those of others stay as they are, whatever they are by now.
 */
export function diffPodStatus(uid: string, live: PodStatus | undefined, wanted: PodStatus): object | undefined {
  const status: Record<string, unknown> = {};
  for (const field of WRITTEN) {
    const [before, after] = [plain(live?.[field]), plain(wanted[field])];
    if (field === 'conditions') {
      const conditions = diffConditions(live?.conditions, wanted.conditions);
      if (conditions.length > 0) status.conditions = conditions;
    } else if (!isDeepStrictEqual(before, after))
      status[field] = after === undefined ? null : replaced(field, before, after);
  }
  return Object.keys(status).length > 0 ? { metadata: { uid }, status } : undefined;
}

/** Address lists are merged by address: without the directive, old ones would stay. */
function replaced(field: string, before: unknown, after: unknown): unknown {
  const merged = field === 'hostIPs' || field === 'podIPs';
  return merged && Array.isArray(before) && before.length > 0
    ? [...(after as unknown[]), { $patch: 'replace' }]
    : after;
}

function diffConditions(live: readonly PodCondition[] = [], wanted: readonly PodCondition[] = []): object[] {
  const gone = Object.values(RESIZE_CONDITIONS).filter(
    (resize) => live.some(({ type }) => type === resize) && !wanted.some(({ type }) => type === resize),
  );
  const changed = wanted.flatMap((condition) => {
    if (!isOwnedCondition(condition.type)) return [];
    const before = live.find(({ type }) => type === condition.type);
    if (before && isDeepStrictEqual(comparable(before), comparable(condition))) return [];
    // A reason of the old state must not survive the merge.
    const cleared = Object.fromEntries(
      (['reason', 'message'] as const).filter((key) => before?.[key] && !condition[key]).map((key) => [key, null]),
    );
    return [{ ...condition, ...cleared }];
  });
  return [...changed, ...gone.map((type) => ({ type, $patch: 'delete' }))];
}

function comparable({ type, status, reason, message, lastTransitionTime, observedGeneration }: PodCondition) {
  return [type, status, reason ?? '', message ?? '', lastTransitionTime ?? '', observedGeneration ?? 0];
}

/** As it looks after a trip over the wire; empty lists are absent. */
function plain(value: unknown): unknown {
  if (value === undefined || value === '' || (Array.isArray(value) && value.length === 0)) return undefined;
  return JSON.parse(JSON.stringify(value));
}
