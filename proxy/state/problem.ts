/** Why a part of a Service or of its slices is left out. The words become reasons of events and a label of a metric. */
export type ProblemReason =
  /** A field that the API server should not have let through. */
  | 'InvalidService'
  | 'InvalidEndpointSlice'
  /** Address and port, or a node port, are another Service's. */
  | 'AddressInUse'
  /** A process of the node listens on the node port. */
  | 'NodePortInUse'
  | 'ExternalIPNotAllowed';

export interface Problem {
  readonly reason: ProblemReason;
  /** What, where, why; without the Service's name. */
  readonly message: string;
}

/** Takes what is found while a Service's state is made; that it goes on without is the finder's business. */
export type OnProblem = (reason: ProblemReason, message: string) => void;
