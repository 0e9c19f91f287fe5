import { endpointText } from '../../proxy/ipvs/operations.ts';
import { serverKey } from '../../proxy/ipvs/wanted.ts';
import { run } from '../../src/linux/exec.ts';
import { openIpvs } from '../../src/netfilter/ipvs.ts';

/** The guest's nf_tables lacks the families ip and ip6; and pods behind one bridge need br_netfilter, as on any node. */
export async function prepareGuest(): Promise<void> {
  for (const program of ['iptables', 'ip6tables'])
    await run('update-alternatives', ['--set', program, `/usr/sbin/${program}-legacy`]);
  await run('modprobe', ['br_netfilter']);
}

/** Why this kernel cannot run tests of IPVS; undefined where it can. */
export async function whyNoIpvs(): Promise<string | undefined> {
  try {
    (await openIpvs()).close();
    return undefined;
  } catch (error) {
    return (error as Error).message;
  }
}

/** `TCP/10.96.0.1:80 rr` with its real servers and their weights, sorted: what `ipvsadm -Ln` shows, without counters. */
export async function readVirtualServers(netns: string): Promise<Record<string, string[]>> {
  const ipvs = await openIpvs(netns);
  try {
    const found: [string, string[]][] = [];
    for (const server of await ipvs.listServers()) {
      const reals = await ipvs.listRealServers(server);
      const persistent = server.flags & 1 ? ` persistent ${server.timeoutSeconds}` : '';
      found.push([
        `${serverKey(server)} ${server.scheduler}${persistent}`,
        reals.map(({ address, port, weight }) => `${endpointText(address, port)} ${weight}`).sort(),
      ]);
    }
    return Object.fromEntries(found.sort(([a], [b]) => (a < b ? -1 : 1)));
  } finally {
    ipvs.close();
  }
}
