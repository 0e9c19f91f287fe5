import { vlanData, vlanIdOf } from '../../src/linux/netlink/vlan.ts';
import {
  type ContainerLinkConfig,
  type ContainerLinkDependencies,
  createContainerLinkPlugin,
} from './container-link.ts';
import { broken } from './failure.ts';
import { checkMaster, checkMasterStatus, createUponMaster, type MasterConfig } from './master-link.ts';

export interface VlanConfig<Ipam> extends ContainerLinkConfig<Ipam>, MasterConfig {
  /** 0 to 4094. */
  vlanId: number;
}

/** The vlan plugin: the container has one 802.1Q network of the master's for itself. */
export function createVlanPlugin<Ipam>(deps: ContainerLinkDependencies<Ipam>) {
  return createContainerLinkPlugin<Ipam, VlanConfig<Ipam>>(
    {
      type: 'vlan',
      kind: 'vlan',
      create: (config, site) => createUponMaster('vlan', config, site, vlanData({ id: config.vlanId })),
      async check(config, link, site) {
        const id = vlanIdOf(link);
        if (id !== config.vlanId) throw broken(`${link.name} has VLAN id ${id}, not ${config.vlanId}`);
        await checkMaster(config, link, site);
      },
      status: checkMasterStatus,
    },
    deps,
  );
}
