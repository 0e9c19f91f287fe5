/** What one execution of a probe says. A handler that cannot tell throws: its result is dropped. */
export interface ProbeOutcome {
  /** `warning` counts as success, with an event. */
  result: 'success' | 'warning' | 'failure';
  /** What people get to see in the event. */
  output: string;
}

/** It cannot be told how the container is; `state` is what people are told instead. */
export class ProbeError extends Error {
  override readonly name = 'ProbeError';
  readonly state: 'failure' | 'unknown';

  constructor(state: 'failure' | 'unknown', message: string) {
    super(message);
    this.state = state;
  }
}

/** More output than this is not kept. */
export const MAX_OUTPUT_BYTES = 10 * 1024;

/** Connection errors in the words that Kubernetes users search for. */
export function describeDial(error: unknown, address: string): string {
  const { code, name, message } = error as { code?: string; name?: string; message: string };
  const words: Record<string, string> = {
    ECONNREFUSED: 'connect: connection refused',
    EHOSTUNREACH: 'connect: no route to host',
    ENETUNREACH: 'connect: network is unreachable',
    ECONNRESET: 'read: connection reset by peer',
    ETIMEDOUT: 'i/o timeout',
  };
  if (name === 'TimeoutError' || name === 'AbortError') return `dial tcp ${address}: i/o timeout`;
  return code === 'ECONNRESET'
    ? `read tcp ${address}: ${words[code]}`
    : `dial tcp ${address}: ${words[code ?? ''] ?? message}`;
}

export function hostPort(host: string, port: number): string {
  return host.includes(':') && !host.startsWith('[') ? `[${host}]:${port}` : `${host}:${port}`;
}
