/** The part that conditions of all workload kinds share. */
interface Condition {
  type: string;
  status: string;
  reason?: string;
  message?: string;
  lastTransitionTime?: string;
}

/**
 * The list with one condition set. lastTransitionTime moves only when `status` changes; what is set anew goes to the
 * end, as upstream does. Unchanged status and reason leave the list as it is.
 */
export function withCondition<C extends Condition>(conditions: readonly C[], condition: C): C[] {
  const current = conditions.find(({ type }) => type === condition.type);
  if (current?.status === condition.status && current.reason === condition.reason) return [...conditions];
  const kept =
    current?.status === condition.status ? { ...condition, lastTransitionTime: current.lastTransitionTime } : condition;
  return [...withoutCondition(conditions, condition.type), kept];
}

export function withoutCondition<C extends Condition>(conditions: readonly C[], type: string): C[] {
  return conditions.filter((condition) => condition.type !== type);
}

export function findCondition<C extends Condition>(conditions: readonly C[] | undefined, type: string): C | undefined {
  return conditions?.find((condition) => condition.type === type);
}
