import type { ContainerState, ContainerStatus, Pod } from '../../src/kube/types.ts';

/** Bytes that the termination messages of one pod may have together. */
const POD_MESSAGE_BYTES = 12 * 1024;

/** Cuts every termination message to its container's share of the pod's 12 KiB (sheet §11). Pure. */
export function limitMessages({ spec }: Pod, statuses: readonly ContainerStatus[]): ContainerStatus[] {
  const { containers, initContainers = [], ephemeralContainers = [] } = spec;
  const count = Math.max(1, containers.length + initContainers.length + ephemeralContainers.length);
  const shareBytes = Math.floor(POD_MESSAGE_BYTES / count);
  return statuses.map((status) => ({
    ...status,
    ...(status.state && { state: limitState(status.state, shareBytes) }),
    ...(status.lastState && { lastState: limitState(status.lastState, shareBytes) }),
  }));
}

function limitState(state: ContainerState, maxBytes: number): ContainerState {
  const message = state.terminated?.message;
  if (!message || Buffer.byteLength(message) <= maxBytes) return state;
  return { ...state, terminated: { ...state.terminated!, message: cutText(message, maxBytes) } };
}

/** The longest beginning of whole characters that fits. */
function cutText(text: string, maxBytes: number): string {
  const bytes = Buffer.from(text);
  let end = maxBytes;
  // A byte 10xxxxxx goes on a character that began before it.
  while (end > 0 && (bytes[end]! & 0xc0) === 0x80) end--;
  return bytes.toString('utf8', 0, end);
}
