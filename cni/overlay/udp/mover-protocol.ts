/**
 * What the process tells the thread that moves packets, through a pipe: the thread waits in poll(2), where no message of Node's reaches it. Each
 * command is one write of 12 bytes, which a pipe takes whole.
 */

export interface MoverRoute {
  /** Network of the peer's pods, 4 bytes. */
  network: Uint8Array;
  prefixLength: number;
  /** Where the peer is on the underlay, 4 bytes. */
  destination: Uint8Array;
}

/** A network that is set again leads elsewhere from then on. */
export type MoverCommand = { kind: 'set' | 'remove'; route: MoverRoute } | { kind: 'stop' };

/** What the thread is started with: descriptors of this process. */
export interface MoverData {
  tun: number;
  socket: number;
  commands: number;
  /** UDP port of all peers. */
  port: number;
}

export const COMMAND_BYTES = 12;

const KINDS = ['stop', 'set', 'remove'] as const;

export function encodeCommand(command: MoverCommand): Buffer {
  const record = Buffer.alloc(COMMAND_BYTES);
  record[0] = KINDS.indexOf(command.kind);
  if (command.kind === 'stop') return record;
  record[1] = command.route.prefixLength;
  record.set(command.route.network, 4);
  record.set(command.route.destination, 8);
  return record;
}

export function decodeCommand(record: Uint8Array): MoverCommand {
  const kind = KINDS[record[0]!] ?? 'stop';
  if (kind === 'stop') return { kind };
  return {
    kind,
    route: { prefixLength: record[1]!, network: record.slice(4, 8), destination: record.slice(8, 12) },
  };
}
