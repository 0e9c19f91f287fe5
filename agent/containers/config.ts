import type { BindMount, ContainerConfig, HostConfig, ImageDetail } from '../../src/docker/engine.ts';
import type { Container, Pod } from '../../src/kube/types.ts';
import type { ContainerResources } from '../pods/resource-ports.ts';
import { expandVariables } from './expansion.ts';
import { containerHash } from './hash.ts';
import { LABEL, podLabels } from './identity.ts';
import { DEFAULT_TERMINATION_MESSAGE_PATH } from './mounts.ts';
import { buildSecurity, type SecurityOptions } from './security.ts';
import { checkWorkingDir } from './working-dir.ts';

export interface ContainerConfigInput {
  pod: Pod;
  container: Container;
  nodeName: string;
  sandboxId: string;
  /** Whose processes an ephemeral container sees. */
  pidTargetId?: string;
  attempt: number;
  image: Pick<ImageDetail, 'id' | 'user' | 'workingDir'>;
  variables: ReadonlyMap<string, string>;
  mounts: BindMount[];
  logPath: string;
  cgroupParent: string;
  resources: ContainerResources;
  oomScoreAdj: number;
  security: SecurityOptions;
  log: LogRotation;
}

/** `containerLogMaxSize` and `containerLogMaxFiles`; the Engine rotates. */
export interface LogRotation {
  maxSizeBytes: number;
  maxFiles: number;
}

/** The body of the create call of one container (sheet §§6, 7, 10). Pure; throws ContainerStartError. */
export function buildContainerConfig(input: ContainerConfigInput): ContainerConfig {
  const { pod, container, variables } = input;
  const workingDir = checkWorkingDir(container.workingDir, input.image.workingDir);
  const security = buildSecurity(pod, container, input.image, input.security);
  const expand = (text: string) => expandVariables(text, (name) => variables.get(name));
  return {
    Image: input.image.id,
    ...(container.command?.length && { Entrypoint: container.command.map(expand) }),
    ...(container.args?.length && { Cmd: container.args.map(expand) }),
    Env: [...variables].map(([name, value]) => `${name}=${value}`),
    ...(workingDir !== undefined && { WorkingDir: workingDir }),
    ...(security.user !== undefined && { User: security.user }),
    Labels: containerLabels(input),
    OpenStdin: container.stdin ?? false,
    StdinOnce: container.stdinOnce ?? false,
    Tty: container.tty ?? false,
    ...(container.lifecycle?.stopSignal && { StopSignal: container.lifecycle.stopSignal }),
    Healthcheck: { Test: ['NONE'] },
    HostConfig: {
      ...namespaceModes(pod, input),
      ...input.resources,
      ...security.hostConfig,
      OomScoreAdj: input.oomScoreAdj,
      CgroupParent: input.cgroupParent,
      RestartPolicy: { Name: 'no' },
      Mounts: input.mounts,
      LogConfig: buildLogConfig(input.log),
    },
  };
}

/** Rotation by the Engine itself: our symlink to the current file stays valid. A negative size switches it off, as upstream. */
export function buildLogConfig({ maxSizeBytes, maxFiles }: LogRotation): NonNullable<HostConfig['LogConfig']> {
  const Type = 'json-file';
  if (maxSizeBytes < 0) return { Type, Config: {} };
  const sizes = { 'max-size': String(maxSizeBytes), 'max-file': String(maxFiles) };
  // The Engine refuses to compress where there is nothing but the file that is written to.
  return { Type, Config: { ...sizes, ...(maxFiles > 1 && { compress: 'true' }) } };
}

function namespaceModes(pod: Pod, { sandboxId, pidTargetId }: ContainerConfigInput): HostConfig {
  const sandbox = `container:${sandboxId}`;
  const { hostPID, shareProcessNamespace, hostNetwork, hostIPC } = pod.spec;
  return {
    NetworkMode: sandbox,
    IpcMode: hostIPC ? 'host' : sandbox,
    ...((hostPID || shareProcessNamespace) && { PidMode: hostPID ? 'host' : sandbox }),
    ...(pidTargetId && { PidMode: `container:${pidTargetId}` }),
    ...(hostNetwork && { UTSMode: 'host' }),
  };
}

function containerLabels(input: ContainerConfigInput): Record<string, string> {
  const { pod, container } = input;
  const preStop = container.lifecycle?.preStop;
  return {
    ...podLabels(pod, input.nodeName),
    [LABEL.containerName]: container.name,
    [LABEL.dockerType]: 'container',
    [LABEL.image]: container.image ?? '',
    [LABEL.sandboxId]: input.sandboxId,
    [LABEL.logPath]: input.logPath,
    [LABEL.hash]: containerHash(container),
    [LABEL.restartCount]: String(input.attempt),
    [LABEL.terminationMessagePath]: container.terminationMessagePath || DEFAULT_TERMINATION_MESSAGE_PATH,
    [LABEL.terminationMessagePolicy]: container.terminationMessagePolicy ?? 'File',
    [LABEL.terminationGracePeriod]: String(pod.spec.terminationGracePeriodSeconds ?? 30),
    ...(preStop && { [LABEL.preStopHandler]: JSON.stringify(preStop) }),
    ...(container.ports?.length && { [LABEL.ports]: JSON.stringify(container.ports) }),
  };
}
