import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ExecError, run } from '../../src/linux/exec.ts';
import { parsePrefix } from '../../src/linux/ip.ts';
import { readMounts, unmount } from '../../src/linux/mounts.ts';
import { writeSysctl } from '../../src/linux/sysctl.ts';
import { runAll } from '../../src/runtime/run-all.ts';
import type { Settings } from '../settings.ts';
import { machineAddress, type NodeRecord, prefix6Beside } from './records.ts';

/**
 * The Ethernet switch between the machine and its further nodes: a bridge in a network namespace of its own, so that the rules of
 * the machine (its kube-proxy among them) do not see the frames that pass from node to node.
 *
 *     machine ── berth0 ═ p1 ┐
 *     node 2  ── eth0   ═ p-2┤ br0, in the namespace that is kept by the file <runDir>/switch.netns
 *     node 3  ── eth0   ═ p-3┘
 */
const namespaceOf = ({ runDir }: Settings) => join(runDir, 'switch.netns');

/** The machine's end. */
export const SWITCH_UPLINK = 'berth0';
const FORWARD_CHAIN = 'BERTH-NODES';
const COMMENT = ['-m', 'comment', '--comment', 'berth: nodes of this machine'];

const ip = (...args: string[]) => run('ip', args);
const onSwitch = (settings: Settings, ...args: string[]) => run('ip', args, { netns: namespaceOf(settings) });

/** Makes the switch, and the nodes' way out through the machine where the machine itself has one. Idempotent. */
export async function ensureSwitch(settings: Settings): Promise<void> {
  const network = settings.nodesNetwork;
  const namespace = namespaceOf(settings);
  if (!isMounted(namespace)) {
    mkdirSync(settings.runDir, { recursive: true });
    writeFileSync(namespace, '');
    await run('unshare', [`--net=${namespace}`, 'true']);
  }
  if (!(await linkExists('br0', namespace))) await onSwitch(settings, 'link', 'add', 'br0', 'type', 'bridge');
  await onSwitch(settings, 'link', 'set', 'br0', 'up');
  if (!(await linkExists(SWITCH_UPLINK)))
    await ip('link', 'add', SWITCH_UPLINK, 'type', 'veth', 'peer', 'name', 'p1', 'netns', namespace);
  await onSwitch(settings, 'link', 'set', 'p1', 'master', 'br0', 'up');
  const { prefixLength } = parsePrefix(network);
  await ip('address', 'replace', `${machineAddress(network)}/${prefixLength}`, 'dev', SWITCH_UPLINK);
  await ip('link', 'set', SWITCH_UPLINK, 'up');
  if (settings.nodeIp6 !== undefined) await answerNodes6(settings.nodeIp6, machineAddress(network));
  if (await hasDefaultRoute()) await ensureWayOut(network);
}

/**
 * A link answers ARP for any address of the machine, but neighbour solicitations of IPv6 for its own addresses alone. The nodes know
 * the machine by `nodeIp6`, which another link has: this one answers for it.
 */
async function answerNodes6(nodeIp6: string, address: string): Promise<void> {
  await ip('-6', 'address', 'replace', prefix6Beside(address), 'dev', SWITCH_UPLINK, 'nodad');
  writeSysctl(`net/ipv6/conf/${SWITCH_UPLINK}/proxy_ndp`, '1');
  await ip('-6', 'neighbour', 'replace', 'proxy', nodeIp6, 'dev', SWITCH_UPLINK);
}

/** Takes all of it away. Nodes that are still plugged in lose their network. Idempotent. */
export async function removeSwitch(settings: Settings): Promise<void> {
  const namespace = namespaceOf(settings);
  await runAll('remove the switch between the nodes', [
    async () => void ((await linkExists(SWITCH_UPLINK)) && (await ip('link', 'delete', SWITCH_UPLINK))),
    () => {
      if (isMounted(namespace)) unmount(namespace, { lazy: true });
      rmSync(namespace, { force: true });
    },
    ...WAY_OUT.map(({ table, chain }) => async () => {
      if (!(await succeeds('iptables', ['-w', '-t', table, '-n', '-L', FORWARD_CHAIN]))) return;
      await run('iptables', ['-w', '-t', table, '-D', chain, ...COMMENT, '-j', FORWARD_CHAIN]).catch(tolerate);
      await run('iptables', ['-w', '-t', table, '-F', FORWARD_CHAIN]);
      await run('iptables', ['-w', '-t', table, '-X', FORWARD_CHAIN]);
    }),
  ]);
}

/**
 * Plugs a host in as `eth0`. It reaches the machine's own addresses over the same wire, and by the machine what the machine reaches.
 * @param initPid of the host's init, as this machine sees it
 */
export async function plugIn(settings: Settings, { address, partitioned }: NodeRecord, initPid: number): Promise<void> {
  const { nodesNetwork: network, nodeIp: machineIp, nodeIp6: machineIp6 } = settings;
  const namespace = namespaceOf(settings);
  const port = portOf(address);
  // A host that was killed takes its end along, and with it this one; but not at once.
  if (await linkExists(port, namespace)) await onSwitch(settings, 'link', 'delete', port).catch(tolerate);
  const peer = ['peer', 'name', 'eth0', 'netns', String(initPid)];
  await ip('link', 'add', port, 'netns', namespace, 'type', 'veth', ...peer);
  await onSwitch(settings, 'link', 'set', port, 'master', 'br0');
  await setCable(settings, address, !partitioned);
  const inHost = (...args: string[]) => run('ip', args, { netns: `/proc/${initPid}/ns/net` });
  await inHost('address', 'add', `${address}/${parsePrefix(network).prefixLength}`, 'dev', 'eth0');
  await inHost('link', 'set', 'eth0', 'up');
  await inHost('route', 'replace', `${machineIp}/32`, 'dev', 'eth0');
  if (machineIp6 !== undefined) {
    await inHost('-6', 'address', 'add', prefix6Beside(address), 'dev', 'eth0', 'nodad');
    await inHost('-6', 'route', 'replace', `${machineIp6}/128`, 'dev', 'eth0');
  }
  if (await hasDefaultRoute()) await inHost('route', 'replace', 'default', 'via', machineAddress(network));
}

/** Puts a node's cable in or pulls it out. */
export async function setCable(settings: Settings, address: string, connected: boolean): Promise<void> {
  await onSwitch(settings, 'link', 'set', portOf(address), connected ? 'up' : 'down');
}

const portOf = (address: string) => `p-${Buffer.from(address.split('.').map(Number)).toString('hex')}`;

const WAY_OUT = [
  { table: 'filter', chain: 'FORWARD' },
  { table: 'nat', chain: 'POSTROUTING' },
];

/** Docker's FORWARD policy is DROP on many machines, and nobody outside knows the way to the nodes' network. */
async function ensureWayOut(network: string): Promise<void> {
  const rules: Record<string, string[][]> = {
    filter: [
      ['-i', SWITCH_UPLINK, '-s', network, '-j', 'ACCEPT'],
      ['-o', SWITCH_UPLINK, '-m', 'conntrack', '--ctstate', 'RELATED,ESTABLISHED', '-j', 'ACCEPT'],
    ],
    nat: [['-s', network, '!', '-o', SWITCH_UPLINK, '-j', 'MASQUERADE']],
  };
  for (const { table, chain } of WAY_OUT) {
    const base = ['-w', '-t', table];
    if (!(await succeeds('iptables', [...base, '-n', '-L', FORWARD_CHAIN])))
      await run('iptables', [...base, '-N', FORWARD_CHAIN]);
    await run('iptables', [...base, '-F', FORWARD_CHAIN]);
    for (const rule of rules[table]!) await run('iptables', [...base, '-A', FORWARD_CHAIN, ...rule]);
    const jump = [...COMMENT, '-j', FORWARD_CHAIN];
    if (!(await succeeds('iptables', [...base, '-C', chain, ...jump])))
      await run('iptables', [...base, '-I', chain, ...jump]);
  }
}

async function hasDefaultRoute(): Promise<boolean> {
  return (await ip('-4', 'route', 'show', 'default')).stdout.trim() !== '';
}

const isMounted = (path: string) => readMounts().some(({ target }) => target === path);

function linkExists(name: string, netns?: string): Promise<boolean> {
  return succeeds('ip', ['link', 'show', 'dev', name], netns);
}

async function succeeds(program: string, args: string[], netns?: string): Promise<boolean> {
  return run(program, args, { netns }).then(
    () => true,
    (error) => {
      tolerate(error);
      return false;
    },
  );
}

/** What is not there, or is gone meanwhile, is no failure; a program that cannot be run is one. */
function tolerate(error: unknown): void {
  if (!(error instanceof ExecError) || error.code === undefined) throw error;
}
