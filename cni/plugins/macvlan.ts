import { type MacvlanMode, macvlanData, macvlanModeOf } from '../../src/linux/netlink/macvlan.ts';
import {
  type ContainerLinkConfig,
  type ContainerLinkDependencies,
  createContainerLinkPlugin,
} from './container-link.ts';
import { broken } from './failure.ts';
import { checkMaster, checkMasterStatus, createUponMaster, type MasterConfig } from './master-link.ts';

export interface MacvlanConfig<Ipam> extends ContainerLinkConfig<Ipam>, MasterConfig {
  mode: MacvlanMode;
  /** undefined: the kernel chooses one. */
  mac: string | undefined;
  /** Frames to all that may wait; undefined: the kernel's 1000. */
  broadcastQueueLength: number | undefined;
}

/** The macvlan plugin: the container is on the master's own Ethernet, with a MAC of its own. Host and container do not hear each other. */
export function createMacvlanPlugin<Ipam>(deps: ContainerLinkDependencies<Ipam>) {
  return createContainerLinkPlugin<Ipam, MacvlanConfig<Ipam>>(
    {
      type: 'macvlan',
      kind: 'macvlan',
      create: (config, site) => createUponMaster('macvlan', config, site, macvlanData(config)),
      async check(config, link, site) {
        const mode = macvlanModeOf(link);
        if (mode !== config.mode) throw broken(`${link.name} is in mode ${mode}, not ${config.mode}`);
        await checkMaster(config, link, site);
      },
      status: checkMasterStatus,
    },
    deps,
  );
}
