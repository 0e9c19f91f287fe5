import { X509Certificate } from 'node:crypto';
import type { Duplex } from 'node:stream';
import type { OwnNode } from '../../control-plane/apiserver/nodes/node-connection.ts';
import { certificateUser } from '../../src/auth/certificate.ts';
import type { UserInfo } from '../../src/auth/user.ts';
import { createConnectionPair } from '../../src/streaming/connection-pair.ts';

/** What of the agent the API server in the same process speaks to. */
type ServesConnections = { serve(connection: Duplex, user: UserInfo): void };

/**
 * API server and agent of one process speak over memory: logs, exec and port-forward then cost one encryption, to the client, instead of three
 * and two passes through the kernel. The agent still asks what the API server's identity may do.
 */
export function createOwnNode(
  origin: string,
  apiServerClientPem: string,
): { ownNode: OwnNode; servedBy(agent: ServesConnections): void } {
  const user = certificateUser(new X509Certificate(apiServerClientPem).raw);
  let agent: ServesConnections | undefined;
  return {
    ownNode: {
      origin,
      connect() {
        if (!agent || !user) return undefined;
        const [ours, its] = createConnectionPair();
        agent.serve(its, user);
        return ours;
      },
    },
    servedBy(started) {
      agent = started;
    },
  };
}
