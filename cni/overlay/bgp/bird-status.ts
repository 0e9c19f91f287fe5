import type { BirdReply } from './control-socket.ts';

/** A BGP session as BIRD has it. */
export interface SessionStatus {
  protocol: string;
  /** The node's name or the router's address; the protocol's name where it has none. */
  description: string;
  isEstablished: boolean;
  /** BIRD's words for what it does or suffers: `Established`, `Connect`, `Active Socket: Connection refused`. */
  info: string;
  /** Routes that were taken from the other side. */
  importedRoutes: number;
}

/**
 * `show protocols all`, the BGP ones: a table of name, proto, table, state, since, info, and below each the details, indented.
 * Pure. Columns as of BIRD 2.0 to 2.17; the time has a space in it (`timeformat protocol iso long`).
 */
export function parseSessions(reply: readonly BirdReply[]): SessionStatus[] {
  const sessions: SessionStatus[] = [];
  let current: SessionStatus | undefined;
  for (const { text } of reply) {
    const row = /^(\S+)\s+(\S+)\s+(\S+)\s+(\S+)\s+\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d+)?\s*(.*)$/.exec(text);
    if (row) {
      const [, protocol = '', kind, , , info = ''] = row;
      current =
        kind === 'BGP'
          ? {
              protocol,
              description: protocol,
              isEstablished: info.startsWith('Established'),
              info: info.trim(),
              importedRoutes: 0,
            }
          : undefined;
      if (current) sessions.push(current);
      continue;
    }
    if (!current) continue;
    const description = /^\s+Description:\s+(.*)$/.exec(text);
    if (description) current.description = description[1]!.trim();
    const routes = /^\s+Routes:\s+(\d+) imported/.exec(text);
    if (routes) current.importedRoutes += Number(routes[1]);
  }
  return sessions;
}
