import { isNetlinkError } from '../../src/linux/netlink/socket.ts';
import type { Ipvs } from '../../src/netfilter/ipvs.ts';
import type { VirtualServer } from '../../src/netfilter/ipvs-messages.ts';
import { endpointText, parseEndpoint } from './operations.ts';
import { serverKey } from './wanted.ts';

/** Real servers that take no new connections and go when their last one has ended. Calls must not overlap. */
export interface Terminations {
  has(server: string, endpoint: string): boolean;
  size(): number;
  /**
   * Takes real servers away: at once where the protocol knows no end of a connection (UDP, and SCTP as upstream), or where none is
   * open; else by weight 0, and later.
   */
  remove(server: VirtualServer, endpoints: readonly string[]): Promise<void>;
  /** One that has weight 0 already. */
  adopt(server: VirtualServer, endpoint: string): void;
  forget(server: string, endpoint?: string): void;
  /** Takes away those whose connections have ended meanwhile. Collects errors. */
  sweep(): Promise<void>;
}

export function createTerminations(ipvs: Ipvs): Terminations {
  const waiting = new Map<string, { server: VirtualServer; endpoints: Set<string> }>();

  function adopt(server: VirtualServer, endpoint: string): void {
    const key = serverKey(server);
    const known = waiting.get(key);
    if (known) known.endpoints.add(endpoint);
    else waiting.set(key, { server, endpoints: new Set([endpoint]) });
  }

  function forget(key: string, endpoint?: string): void {
    const known = waiting.get(key);
    if (endpoint !== undefined) known?.endpoints.delete(endpoint);
    if (endpoint === undefined || known?.endpoints.size === 0) waiting.delete(key);
  }

  async function take(server: VirtualServer, endpoint: string): Promise<void> {
    try {
      await ipvs.deleteRealServer(server, parseEndpoint(endpoint));
    } catch (error) {
      if (!isNetlinkError(error, 'ENOENT', 'ESRCH')) throw error;
    }
    forget(serverKey(server), endpoint);
  }

  /** The connections of each real server; none where the virtual one is gone. */
  async function connectionsOf(server: VirtualServer): Promise<Map<string, number>> {
    const reals = await ipvs.listRealServers(server);
    return new Map(
      reals.map((one) => [endpointText(one.address, one.port), one.activeConnections + one.inactiveConnections]),
    );
  }

  return {
    has: (server, endpoint) => waiting.get(server)?.endpoints.has(endpoint) === true,
    size: () => [...waiting.values()].reduce((sum, { endpoints }) => sum + endpoints.size, 0),
    async remove(server, endpoints) {
      const open = server.protocol === 'TCP' ? await connectionsOf(server) : new Map<string, number>();
      for (const endpoint of endpoints) {
        if ((open.get(endpoint) ?? 0) === 0) {
          await take(server, endpoint);
          continue;
        }
        await ipvs.editRealServer(server, { ...parseEndpoint(endpoint), weight: 0 });
        adopt(server, endpoint);
      }
    },
    adopt,
    forget,
    async sweep() {
      const errors: unknown[] = [];
      for (const { server, endpoints } of [...waiting.values()])
        try {
          const open = await connectionsOf(server);
          for (const endpoint of [...endpoints]) if ((open.get(endpoint) ?? 0) === 0) await take(server, endpoint);
        } catch (error) {
          errors.push(error);
        }
      if (errors.length > 0)
        throw new AggregateError(errors, `IPVS: ${errors.length} ending real servers could not be taken away`);
    },
  };
}
