import type { ContainerConfig } from '../../src/docker/engine.ts';
import type { Pod } from '../../src/kube/types.ts';
import { buildLogConfig } from '../containers/config.ts';
import { LABEL, podLabels, SANDBOX_CONTAINER_NAME } from '../containers/identity.ts';
import { MASKED_PATHS, READ_ONLY_PATHS } from '../containers/masked-paths.ts';
import type { HostPort } from '../pods/ports.ts';
import { dottedSysctl } from '../resources/sysctls.ts';
import { NETNS_VARIABLE } from './pod-runtime.ts';

export interface SandboxConfigInput {
  pod: Pod;
  nodeName: string;
  pauseImage: string;
  kernelHostname: string;
  cgroupParent: string;
  oomScoreAdj: number;
  /** The network namespace that the OCI runtime is to join; it makes one without. */
  netnsPath?: string;
}

const SANDBOX_CPU_SHARES = 2;
/** The pause program sleeps and reaps: it needs no user of weight, no capability, nothing to write (upstream's image has this user). */
const SANDBOX_USER = '65535:65535';
const SANDBOX_LOG = { maxSizeBytes: 1 << 20, maxFiles: 1 };

/** The create call of the pause container, which holds the pod's network, IPC and (on request) PID namespaces. */
export function buildSandboxConfig(input: SandboxConfigInput): ContainerConfig {
  const { pod } = input;
  const { hostNetwork, hostIPC, hostPID } = pod.spec;
  const sysctls = pod.spec.securityContext?.sysctls ?? [];
  return {
    Image: input.pauseImage,
    ...(input.netnsPath && { Env: [`${NETNS_VARIABLE}=${input.netnsPath}`] }),
    // With the host's network the kernel's name is the host's.
    ...(!hostNetwork && { Hostname: input.kernelHostname }),
    Labels: {
      ...pod.metadata.labels,
      ...Object.fromEntries(
        Object.entries(pod.metadata.annotations ?? {}).map(([key, value]) => [`annotation.${key}`, value]),
      ),
      ...podLabels(pod, input.nodeName),
      [LABEL.containerName]: SANDBOX_CONTAINER_NAME,
      [LABEL.dockerType]: 'podsandbox',
    },
    User: SANDBOX_USER,
    Healthcheck: { Test: ['NONE'] },
    HostConfig: {
      NetworkMode: hostNetwork ? 'host' : 'none',
      IpcMode: hostIPC ? 'host' : 'shareable',
      ...(hostPID && { PidMode: 'host' }),
      CpuShares: SANDBOX_CPU_SHARES,
      OomScoreAdj: input.oomScoreAdj,
      CgroupParent: input.cgroupParent,
      RestartPolicy: { Name: 'no' },
      // The Engine's own seccomp profile, too, whatever the containers have.
      SecurityOpt: ['no-new-privileges'],
      CapDrop: ['ALL'],
      ReadonlyRootfs: true,
      MaskedPaths: [...MASKED_PATHS],
      ReadonlyPaths: [...READ_ONLY_PATHS],
      LogConfig: buildLogConfig(SANDBOX_LOG),
      ...(sysctls.length > 0 && {
        Sysctls: Object.fromEntries(sysctls.map(({ name, value }) => [dottedSysctl(name), value])),
      }),
    },
  };
}

/** The host ports that the pod network has to map; none for host-network pods. */
export function hostPortsOf(pod: Pod): HostPort[] {
  if (pod.spec.hostNetwork) return [];
  return [...(pod.spec.initContainers ?? []), ...pod.spec.containers]
    .flatMap(({ ports }) => ports ?? [])
    .filter(({ hostPort }) => hostPort)
    .map(({ hostPort, containerPort, protocol, hostIP }) => ({
      hostPort: hostPort!,
      containerPort,
      protocol: (protocol ?? 'TCP').toLowerCase() as HostPort['protocol'],
      ...(hostIP && { hostIP }),
    }));
}
