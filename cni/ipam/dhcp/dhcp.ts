import { existsSync } from 'node:fs';
import { CNI_ERROR, CniError, type CniResult, type IpamPlugin } from '../../types.ts';
import { createDaemonClient, type LeaseHolder, nobodyListens } from './daemon-client.ts';
import type { LeaseKey } from './lease-files.ts';
import type { DhcpLeases } from './leases.ts';
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
  /** New leases are the daemon's where there is one; those that there are stay with who keeps them. */
  const holderOf = ({ socketPath }: DhcpConfig) =>
    existsSync(socketPath) || !own ? createDaemonClient(socketPath) : own;
  /** Idempotent things are done by everybody there is; a daemon that is gone keeps nothing. */
  const everybody = ({ socketPath }: DhcpConfig) =>
    [own, existsSync(socketPath) ? createDaemonClient(socketPath) : undefined].filter((one) => one !== undefined);

  return {
    type: 'dhcp',

    async add(config, request) {
      const key = keyOf(config, request);
      const holder = holderOf(config);
      const ack = await holder.allocate({ key, netns: request.netns, options: config.options });
      try {
        return resultOf(ack, config.result);
      } catch (error) {
        await holder.release(key);
        throw error;
      }
    },

    async del(config, request) {
      for (const holder of everybody(config)) await holder.release(keyOf(config, request));
    },

    async check(config, request, result) {
      const key = keyOf(config, request);
      const address = leasedAddress(result);
      for (const holder of everybody(config)) {
        const ack = await holder.held(key);
        if (!ack) continue;
        if (address !== undefined && ack.yourAddress !== address)
          throw new CniError(
            CNI_ERROR.unknown,
            `dhcp: the lease is of ${ack.yourAddress}, the container has ${address}`,
          );
        return;
      }
      if (address === undefined)
        throw new CniError(
          CNI_ERROR.unknownContainer,
          `dhcp: no lease is kept for ${request.containerId} ${request.ifname}`,
        );
      // A daemon that knows nothing of it (the reference one was here before) takes it over, if the server still agrees.
      await holderOf(config).allocate({ key, netns: request.netns, options: config.options, only: address });
    },

    async gc(config, valid) {
      for (const holder of everybody(config)) await holder.collect(config.network, valid);
    },

    async status({ socketPath }) {
      if (existsSync(socketPath)) await createDaemonClient(socketPath).ping();
      else if (!own) throw nobodyListens(socketPath);
    },
  };
}

function keyOf({ network }: DhcpConfig, { containerId, ifname }: { containerId: string; ifname: string }): LeaseKey {
  return { network, containerId, ifname };
}

/** The result may have addresses of other managers and plugins; DHCP gives one of IPv4. */
function leasedAddress({ ips }: CniResult): string | undefined {
  return ips.map(({ address }) => address.split('/')[0]!).find((address) => !address.includes(':'));
}
