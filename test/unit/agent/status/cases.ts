import type { ContainerRuntimeStatus, PodRuntimeStatus, PodStatusInput } from '../../../../agent/pods/ports.ts';
import type { ContainerStatus, Pod } from '../../../../src/kube/types.ts';

export const NOW_MS = Date.parse('2026-01-01T00:10:00Z');

/** A run of a container as the runtime reports it; `exit` makes it an exited one. */
export function run(
  name: string,
  part: Partial<ContainerRuntimeStatus> & { exit?: number } = {},
): ContainerRuntimeStatus {
  const { exit, ...rest } = part;
  return {
    id: `${name}0`,
    name,
    state: exit === undefined ? 'running' : 'exited',
    createdAtMs: NOW_MS - 60_000,
    startedAtMs: NOW_MS - 50_000,
    ...(exit !== undefined && { exitCode: exit, finishedAtMs: NOW_MS - 10_000 }),
    oomKilled: false,
    image: 'busybox',
    imageId: 'docker://sha256:1',
    restartCount: 0,
    hash: '1',
    sandboxId: 's',
    ...rest,
  };
}

export function observed(
  containers: ContainerRuntimeStatus[],
  sandbox: Partial<PodRuntimeStatus['sandboxes'][number]> | null = {},
): PodRuntimeStatus {
  const ips = sandbox?.ips ?? ['10.244.0.5'];
  return {
    uid: 'uid-1',
    name: 'web',
    namespace: 'default',
    ips: sandbox ? ips : [],
    sandboxes: sandbox
      ? [{ id: 's', attempt: 0, state: 'running', createdAtMs: NOW_MS - 61_000, hostNetwork: false, ips, ...sandbox }]
      : [],
    containers,
  };
}

export function input(pod: Pod, part: Partial<PodStatusInput> = {}): PodStatusInput {
  return { pod, runtime: observed([]), waiting: new Map(), terminal: false, nowMs: NOW_MS, ...part };
}

/** `R`unning, `r` running but not started, `T<code>` terminated, `W` waiting, `W<code>` waiting after an end. */
export function statusOf(name: string, text: string): ContainerStatus {
  const code = Number(text.slice(1));
  const ended = { terminated: { exitCode: code } };
  const base = { name, ready: false, restartCount: 0, image: '', imageID: '' };
  switch (text[0]) {
    case 'R':
      return { ...base, ready: true, started: true, state: { running: {} } };
    case 'r':
      return { ...base, started: false, state: { running: {} } };
    case 'T':
      return { ...base, state: ended, ready: code === 0 };
    default:
      return { ...base, state: { waiting: {} }, ...(text.length > 1 && { lastState: ended }) };
  }
}
