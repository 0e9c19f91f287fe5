import { writeSysctl } from '../../src/linux/sysctl.ts';
import { createConntrack } from '../../src/netfilter/ctnetlink.ts';
import { createNft } from '../../src/netfilter/nft.ts';
import { createPortmap, type PortmapConfig, parseMapping } from '../plugins/portmap.ts';
import type { ProgramPlugin } from '../wire/call.ts';
import { readFields, refuseKeys } from '../wire/fields.ts';
import type { PluginDependencies } from './dependencies.ts';

const REFUSED = ['markMasqBit', 'externalSetMarkChain', 'conditionsV4', 'conditionsV6', 'masqAll'];

export function portmapProgram(
  deps: PluginDependencies,
): ProgramPlugin<PortmapConfig & { hostLink: string | undefined }> {
  return {
    type: 'portmap',
    parse(conf) {
      refuseKeys(conf.raw, 'portmap', REFUSED);
      const mappings = readFields(conf.runtimeConfig).list('portMappings').map(parseMapping);
      return { mappings, hostLink: conf.prevResult?.interfaces.find(({ sandbox }) => sandbox === '')?.name };
    },
    open() {
      const netns = deps.hostNetns;
      const nft = createNft({ run: deps.run, netns });
      const conntrack = createConntrack({ netns });
      const portmap = (hostLink: string | undefined) =>
        createPortmap({
          nft,
          allowLocalhost() {
            if (hostLink) writeSysctl(`net/ipv4/conf/${hostLink}/route_localnet`, '1', { netns });
          },
          async forgetUdpFlows(hostPort) {
            await conntrack.deleteUdpFlows('IPv4', ({ destinationPort }) => destinationPort === hostPort);
          },
        });
      return {
        plugin: {
          ...portmap(undefined),
          add: (config, request, previous) => portmap(config.hostLink).add(config, request, previous),
        },
        close() {},
      };
    },
  };
}
