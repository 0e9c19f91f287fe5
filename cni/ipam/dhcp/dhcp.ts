import { existsSync } from 'node:fs';
import { CNI_ERROR, CniError, type CniResult, type IpamPlugin } from '../../types.ts';
import { createDaemonClient, type LeaseHolder } from './daemon-client.ts';
import type { LeaseKey } from './lease-files.ts';
import type { DhcpLeases, LeaseRequest } from './leases.ts';
import type { DhcpMessage } from './message.ts';
import { type ClientOptions, type ResultOptions, resultOf } from './options.ts';

export interface DhcpConfig {
  network: string;
  /** Where a daemon listens that keeps leases. */
  socketPath: string;
  options: ClientOptions;
  result: ResultOptions;
}

/** The reference plugin's. */
export const DEFAULT_DHCP_SOCKET = '/run/cni/dhcp.sock';

/**
 * Addresses of a DHCP server on the container's network. The interface plugin makes its link first, and takes it away last.
 *
 * @param leases of a process that lives as long as containers do. Where a daemon listens on the configured socket, that one is asked all the
 * same; a program of one call, which has no leases of its own, needs it.
 */
export function createDhcpIpam(leases?: DhcpLeases): IpamPlugin<DhcpConfig> {
  const own: LeaseHolder | undefined = leases && {
    allocate: (request) => leases.allocate(request),
    release: leases.release,
    held: async (key) => leases.held(key),
    collect: leases.collect,
  };
  const daemonOf = ({ socketPath }: DhcpConfig) =>
    existsSync(socketPath) ? createDaemonClient(socketPath) : undefined;

  /** New leases are the daemon's where there is one. */
  async function allocate(config: DhcpConfig, request: LeaseRequest): Promise<[DhcpMessage, LeaseHolder]> {
    const daemon = daemonOf(config) ?? (own ? undefined : createDaemonClient(config.socketPath));
    if (daemon)
      try {
        return [await daemon.allocate(request), daemon];
      } catch (error) {
        if (!own || !isNobody(error)) throw error;
      }
    return [await own!.allocate(request), own!];
  }

  /** Those that there are stay with who keeps them: everybody is asked. A daemon that is gone keeps nothing. */
  async function everybody<T>(config: DhcpConfig, ask: (holder: LeaseHolder) => Promise<T>): Promise<T[]> {
    const answers: T[] = [];
    for (const holder of [own, daemonOf(config)])
      if (holder)
        try {
          answers.push(await ask(holder));
        } catch (error) {
          if (!isNobody(error)) throw error;
        }
    return answers;
  }

  return {
    type: 'dhcp',

    async add(config, request) {
      const key = keyOf(config, request);
      const [ack, holder] = await allocate(config, { key, netns: request.netns, options: config.options });
      try {
        return resultOf(ack, config.result);
      } catch (error) {
        await holder.release(key);
        throw error;
      }
    },

    async del(config, request) {
      await everybody(config, (holder) => holder.release(keyOf(config, request)));
    },

    async check(config, request, result) {
      const key = keyOf(config, request);
      const address = leasedAddress(result);
      const [ack] = (await everybody(config, (holder) => holder.held(key))).filter((one) => one !== undefined);
      if (ack) {
        if (address === undefined || ack.yourAddress === address) return;
        throw new CniError(CNI_ERROR.unknown, `dhcp: the lease is of ${ack.yourAddress}, the container has ${address}`);
      }
      if (address === undefined)
        throw new CniError(
          CNI_ERROR.unknownContainer,
          `dhcp: no lease is kept for ${request.containerId} ${request.ifname}`,
        );
      // A daemon that knows nothing of it (the reference one was here before) takes it over, if the server still agrees.
      await allocate(config, { key, netns: request.netns, options: config.options, only: address });
    },

    async gc(config, valid) {
      await everybody(config, (holder) => holder.collect(config.network, valid));
    },

    async status({ socketPath }) {
      if (!own) await createDaemonClient(socketPath).ping();
    },
  };
}

/** Nobody listens, or somebody who does not understand. */
const isNobody = (error: unknown) => error instanceof CniError && error.code === CNI_ERROR.notAvailable;

function keyOf({ network }: DhcpConfig, { containerId, ifname }: { containerId: string; ifname: string }): LeaseKey {
  return { network, containerId, ifname };
}

/** The result may have addresses of other managers and plugins; DHCP gives one of IPv4. */
function leasedAddress({ ips }: CniResult): string | undefined {
  return ips.map(({ address }) => address.split('/')[0]!).find((address) => !address.includes(':'));
}
