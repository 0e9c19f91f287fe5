import { createTap } from '../../src/linux/tun.ts';
import { CNI_ERROR, CniError } from '../types.ts';
import {
  type ContainerLinkConfig,
  type ContainerLinkDependencies,
  createContainerLinkPlugin,
} from './container-link.ts';
import { broken } from './failure.ts';

export interface TapConfig<Ipam> extends ContainerLinkConfig<Ipam> {
  /** Bytes; undefined: the kernel's 1500. */
  mtu: number | undefined;
  /** undefined: the kernel chooses one. */
  mac: string | undefined;
  multiQueue: boolean;
  /** Ids of who may open it beside root. */
  owner: number | undefined;
  group: number | undefined;
  /** A bridge of the container's that it is a port of; undefined: of none. */
  bridge: string | undefined;
}

/** The tap plugin: an interface whose other end is a program in the container, such as a virtual machine. */
export function createTapPlugin<Ipam>(deps: ContainerLinkDependencies<Ipam>) {
  return createContainerLinkPlugin<Ipam, TapConfig<Ipam>>(
    {
      type: 'tap',
      kind: 'tun',
      async create({ multiQueue, owner, group, mtu, mac, bridge }, { pod, netns, name }) {
        const master = bridge === undefined ? undefined : await pod.getLink(bridge);
        if (bridge !== undefined && master?.kind !== 'bridge')
          throw new CniError(CNI_ERROR.invalidNetworkConfig, `bridge: the container has no bridge ${bridge}`);
        createTap({ name, multiQueue, owner, group }, netns);
        try {
          await pod.setLink(name, { mtu, mac, masterIndex: master?.index });
        } catch (error) {
          await pod.deleteLink(name);
          throw error;
        }
      },
      async check({ mtu, bridge }, link, { pod }) {
        if (mtu !== undefined && link.mtu !== mtu) throw broken(`${link.name} has MTU ${link.mtu}, not ${mtu}`);
        if (bridge !== undefined && (await pod.getLink(bridge))?.index !== link.masterIndex)
          throw broken(`${link.name} is no port of ${bridge}`);
      },
    },
    deps,
  );
}
