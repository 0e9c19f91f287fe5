import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { createChain } from '../../cni/invoke/chain.ts';
import { parseConfigurationList } from '../../cni/invoke/network-configuration.ts';
import { ownPlugins } from '../../cni/programs/all.ts';
import { createPluginCaller } from '../../cni/wire/plugin-caller.ts';
import { run } from '../../src/linux/exec.ts';

export type LinkChain = 'macvlan' | 'host-device';

/** A further network of a container, in this process: an interface upon, or of, the host's `up0`, tuned, and routed by its source. */
export function openCniChain(hostNetns: string, dataDir: string, kind: LinkChain) {
  const own = ownPlugins({ run, sleep: (ms) => sleep(ms), hostNetns });
  const caller = createPluginCaller({ own: (type) => own.get(type), path: [], run });
  const chain = createChain(caller);
  const ranges = [[{ subnet: '10.9.0.0/24', rangeStart: '10.9.0.10', gateway: '10.9.0.1' }]];
  const ipam = { type: 'host-local', dataDir, ranges, routes: [{ dst: '10.8.0.0/16' }] };
  const plugins = [
    kind === 'macvlan' ? { type: kind, master: 'up0', ipam } : { type: kind, device: 'up0', ipam },
    { type: 'tuning', dataDir: join(dataDir, 'tuning'), mtu: 1400, mac: '0a:00:00:00:00:77', promisc: true },
    { type: 'sbr' },
  ];
  const network = parseConfigurationList(JSON.stringify({ cniVersion: '1.1.0', name: 'net', plugins }));
  const attachment = (id: number, netns: string) => ({
    request: { containerId: `pod${id}`, ifname: 'net1', netns, args: {} },
    capabilityArgs: {},
  });
  return {
    add: (id: number, netns: string) => chain.add(network, attachment(id, netns)),
    del: (id: number, netns: string) => chain.del(network, attachment(id, netns)),
    check: (id: number, netns: string, result: Awaited<ReturnType<typeof chain.add>>) =>
      chain.check(network, attachment(id, netns), result),
    close: () => caller.close(),
  };
}
