import type { PortMapping } from './capability-args.ts';

/** One sandbox to be connected; the agent's PodAttachment, as far as the network reads it. */
export interface PodSandbox {
  sandboxId: string;
  netnsPath: string;
  namespace: string;
  name: string;
  uid: string;
  hostPorts: readonly PortMapping[];
  annotations?: Readonly<Record<string, string>>;
}

/** Of one that goes, perhaps long after its process. */
export type EndingSandbox = Omit<PodSandbox, 'netnsPath'> & {
  netnsPath?: string;
  /** Asked only where a plugin may want to know. */
  findNetns?(): Promise<string | undefined>;
};

/** Implements the agent's `PodNetwork` port: plugins of ours in process, others as programs, as a configuration or the built-in network says. */
export interface CniPodNetwork {
  status(): { ready: true } | { ready: false; reason: string; message: string };
  attach(sandbox: PodSandbox, signal: AbortSignal): Promise<{ ips: string[] }>;
  detach(sandbox: EndingSandbox): Promise<void>;
  ips(sandboxId: string): string[] | undefined;
  collect(liveSandboxIds: Set<string>): Promise<void>;
  /** Told when `status` may say something else. */
  onChange(handler: () => void): void;
  /** Follows the directory of configurations and asks plugins how they are. */
  run(signal: AbortSignal): Promise<void>;
  close(): void;
}

/** CNI_ARGS as Kubernetes' runtimes give them. */
export function argsOf(sandbox: Omit<PodSandbox, 'netnsPath'>): Record<string, string> {
  return {
    IgnoreUnknown: '1',
    K8S_POD_NAMESPACE: sandbox.namespace,
    K8S_POD_NAME: sandbox.name,
    K8S_POD_INFRA_CONTAINER_ID: sandbox.sandboxId,
    K8S_POD_UID: sandbox.uid,
  };
}
