import type { Pod } from '../../src/kube/types.ts';

/** Who is asked at the node's door; agent/resources, agent/eviction and agent/node implement it, agent/pods/admission-chain puts it in order. */

/** Why this node does not take a pod: without the prefix `Pod was rejected: `, which the status gets and the event does not. */
export interface Rejection {
  reason: string;
  message: string;
}

/** The order in which a pod is looked at; whoever rejects it first gives the reason. */
export const ADMISSION_STAGES = [
  'eviction',
  'sysctls',
  'features',
  'allocation',
  'topology',
  'predicates',
  'shutdown',
] as const;
export type AdmissionStage = (typeof ADMISSION_STAGES)[number];

/** One of those who decide whether this node takes a pod. Asked for one pod at a time. */
export interface AdmitHandler {
  readonly name: string;
  /**
   * undefined: as far as this handler goes. May set things aside for the pod. Throwing rejects the pod with `UnexpectedAdmissionError`.
   * @param others the pods that hold their share of the node, with the resources that were allocated to them
   */
  admit(pod: Pod, others: readonly Pod[], signal: AbortSignal): Promise<Rejection | undefined> | Rejection | undefined;
  /** The pod runs already, from an earlier life of this agent: take it as it is. Before any new pod is looked at. */
  readmit?(pod: Pod): Promise<void> | void;
  /** The pod was refused by a later handler, or has ended: give back. Idempotent. */
  release?(uid: string): void;
  /** Give back what pods hold that are not in the set. Only once every source has spoken. */
  retain?(uids: ReadonlySet<string>): void;
}

export type AdmitHandlers = Partial<Record<AdmissionStage, AdmitHandler>>;
