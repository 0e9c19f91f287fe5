import type { Run } from '../../src/netfilter/iptables.ts';
import { openNftSocket } from '../../src/netfilter/nfnetlink/socket.ts';
import { createNft } from '../../src/netfilter/nft.ts';
import { runAll } from '../../src/runtime/run-all.ts';
import { createIptablesBackend } from './iptables.ts';
import { createNftablesBackend } from './nftables.ts';

/** Removes the host ports of all containers of a network: for a node that is taken away. Those of other networks stay. */
export async function removeHostPorts(
  network: string,
  { run, hostNetns }: { run: Run; hostNetns?: string },
): Promise<void> {
  const socket = openNftSocket(hostNetns);
  const nft = createNft({ run, netns: hostNetns });
  try {
    await runAll(`remove the host ports of network ${network}`, [
      () => createNftablesBackend(socket, (script) => nft.apply(script)).collect(network, () => false),
      () => createIptablesBackend({ run, socket, hostNetns }).collect(network, () => false),
    ]);
  } finally {
    socket.close();
  }
}
