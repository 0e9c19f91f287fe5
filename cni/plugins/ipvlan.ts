import { type IpvlanMode, ipvlanData, ipvlanModeOf } from '../../src/linux/netlink/ipvlan.ts';
import { CNI_ERROR, CniError } from '../types.ts';
import {
  type ContainerLinkConfig,
  type ContainerLinkDependencies,
  createContainerLinkPlugin,
} from './container-link.ts';
import { broken } from './failure.ts';
import { checkMaster, checkMasterStatus, createUponMaster, type MasterConfig, masterOfChain } from './master-link.ts';

export interface IpvlanConfig<Ipam> extends ContainerLinkConfig<Ipam>, MasterConfig {
  mode: IpvlanMode;
}

/**
 * The ipvlan plugin: addresses of its own on the master's MAC. Behind another plugin in a chain it stands upon that one's only link,
 * and, without an address manager, takes its addresses.
 */
export function createIpvlanPlugin<Ipam>(deps: ContainerLinkDependencies<Ipam>) {
  return createContainerLinkPlugin<Ipam, IpvlanConfig<Ipam>>(
    {
      type: 'ipvlan',
      kind: 'ipvlan',
      async create(config, site, previous) {
        if (config.ipam === undefined && !previous?.ips.length)
          throw new CniError(
            CNI_ERROR.invalidNetworkConfig,
            'ipvlan: neither ipam.type nor the plugin before in the chain gives an address',
          );
        const master = config.master ?? (previous && masterOfChain(previous));
        await createUponMaster('ipvlan', { ...config, master }, site, ipvlanData(config));
      },
      addresses: (config, previous) =>
        config.ipam === undefined && previous && previous.ips.length > 0 ? previous : undefined,
      async check(config, link, site) {
        const mode = ipvlanModeOf(link);
        if (mode !== config.mode) throw broken(`${link.name} is in mode ${mode}, not ${config.mode}`);
        // The result that CHECK gets is the chain's last, which does not say any more upon what this link was put.
        if (config.master !== undefined) await checkMaster(config, link, site);
      },
      status: async (config, host) => {
        if (config.master !== undefined) await checkMasterStatus(config, host);
      },
    },
    deps,
  );
}
