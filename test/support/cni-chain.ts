import { setTimeout as sleep } from 'node:timers/promises';
import { createChain } from '../../cni/invoke/chain.ts';
import { parseConfigurationList } from '../../cni/invoke/network-configuration.ts';
import { ownPlugins } from '../../cni/programs/all.ts';
import { createPluginCaller } from '../../cni/wire/plugin-caller.ts';
import { run } from '../../src/linux/exec.ts';

/**
 * The chain of a node's pods, in this process: bridge + host-local + portmap (nftables). Every pod has a host port of its own.
 *
 * @param keys of the bridge plugin, or of the one in its place, as JSON
 */
export function openCniChain(hostNetns: string, dataDir: string, keys = '{}') {
  const own = ownPlugins({ run, sleep: (ms) => sleep(ms), hostNetns });
  const caller = createPluginCaller({ own: (type) => own.get(type), path: [], run });
  const chain = createChain(caller);
  const ipam = { type: 'host-local', dataDir, ranges: [[{ subnet: '10.244.0.0/22' }]] };
  const plugins = [
    { type: 'bridge', bridge: 'cni0', isDefaultGateway: true, hairpinMode: true, ipam, ...JSON.parse(keys) },
    { type: 'portmap', capabilities: { portMappings: true }, backend: 'nftables' },
  ];
  const network = parseConfigurationList(JSON.stringify({ cniVersion: '1.1.0', name: 'net', plugins }));
  const attachment = (id: number, netns: string) => ({
    request: { containerId: `pod${id}`, ifname: 'eth0', netns, args: {} },
    capabilityArgs: { portMappings: [{ hostPort: 20_000 + id, containerPort: 80, protocol: 'tcp' }] },
  });
  return {
    add: (id: number, netns: string) => chain.add(network, attachment(id, netns)),
    del: (id: number, netns: string) => chain.del(network, attachment(id, netns)),
    check: async (id: number, netns: string, result: Awaited<ReturnType<typeof chain.add>>) =>
      chain.check(network, attachment(id, netns), result),
    gc: (ids: readonly number[]) =>
      chain.gc(
        network,
        ids.map((id) => ({ containerId: `pod${id}`, ifname: 'eth0' })),
      ),
    status: () => chain.status(network),
    close: () => caller.close(),
  };
}
