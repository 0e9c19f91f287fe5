import { existsSync } from 'node:fs';
import { CNI_ERROR, CniError, type CniResult, type IpamPlugin } from '../../types.ts';
import { createDaemonClient } from './daemon-client.ts';
import { createLeaseHolder, type DhcpConfig, type LeaseHolder, leaseKeyOf } from './lease-holder.ts';
import type { DhcpLeases } from './leases.ts';

/** The reference plugin's. */
export const DEFAULT_DHCP_SOCKET = '/run/cni/dhcp.sock';

/**
 * Addresses of a DHCP server on the container's network. The interface plugin makes its link first, and takes it away last.
 *
 * @param leases of a process that lives as long as containers do. Where a daemon listens on the configured socket, that one is asked all the
 * same; a program of one call, which has no leases of its own, needs it.
 */
export function createDhcpIpam(leases?: DhcpLeases): IpamPlugin<DhcpConfig> {
  const own = leases && createLeaseHolder(leases);
  const daemonOf = ({ socketPath }: DhcpConfig) =>
    existsSync(socketPath) ? createDaemonClient(socketPath) : undefined;

  /** What is new is the daemon's where there is one. */
  async function keeper<T>(config: DhcpConfig, ask: (holder: LeaseHolder) => Promise<T>): Promise<T> {
    const daemon = daemonOf(config) ?? (own ? undefined : createDaemonClient(config.socketPath));
    if (daemon)
      try {
        return await ask(daemon);
      } catch (error) {
        if (!own || !isNobody(error)) throw error;
      }
    return ask(own!);
  }

  /** What there is stays with who keeps it: everybody is asked. A daemon that is gone keeps nothing. */
  async function everybody(config: DhcpConfig, ask: (holder: LeaseHolder) => Promise<void>): Promise<void> {
    for (const holder of [own, daemonOf(config)])
      if (holder)
        try {
          await ask(holder);
        } catch (error) {
          if (!isNobody(error)) throw error;
        }
  }

  return {
    type: 'dhcp',

    add: (config, request) => keeper(config, (holder) => holder.allocate(config, request)),

    async del(config, request) {
      await everybody(config, (holder) => holder.release(config, request));
    },

    async check(config, request, result) {
      const address = leasedAddress(result);
      const check = (holder: LeaseHolder) => holder.check(config, request, address);
      if (own && leases.held(leaseKeyOf(config, request))) return check(own);
      // A keeper that knows nothing of it (another one was here before) takes it over, if the server still agrees.
      await keeper(config, check);
    },

    async gc(config, valid) {
      await everybody(config, (holder) => holder.collect(config, valid));
    },

    async status({ socketPath }) {
      if (!own) await createDaemonClient(socketPath).status();
    },
  };
}

/** Nobody listens, or somebody who does not understand. */
const isNobody = (error: unknown) => error instanceof CniError && error.code === CNI_ERROR.notAvailable;

/** The result may have addresses of other managers and plugins; DHCP gives one of IPv4. */
function leasedAddress({ ips }: CniResult): string | undefined {
  return ips.map(({ address }) => address.split('/')[0]!).find((address) => !address.includes(':'));
}
