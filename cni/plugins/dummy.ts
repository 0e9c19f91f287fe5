import {
  type ContainerLinkConfig,
  type ContainerLinkDependencies,
  createContainerLinkPlugin,
} from './container-link.ts';

/** The dummy plugin: an interface that leads nowhere, for addresses that a container shall have. */
export function createDummyPlugin<Ipam>(deps: ContainerLinkDependencies<Ipam>) {
  return createContainerLinkPlugin<Ipam, ContainerLinkConfig<Ipam>>(
    {
      type: 'dummy',
      kind: 'dummy',
      create: (_config, { pod, name }) => pod.createLink({ name, kind: 'dummy' }),
    },
    deps,
  );
}
