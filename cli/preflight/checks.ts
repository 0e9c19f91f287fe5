import { createSocket } from 'node:dgram';
import { existsSync } from 'node:fs';
import { createServer } from 'node:net';
import { networkInterfaces } from 'node:os';
import { ROUTE_PROTOCOL } from '../../cni/node/route-protocol.ts';
import { ExecError, run } from '../../src/linux/exec.ts';
import { formatPrefix, networkOf, parsePrefix, prefixesOverlap } from '../../src/linux/ip.ts';
import { openRtnetlink } from '../../src/linux/netlink/rtnetlink.ts';
import { processesWith } from '../daemon/pid-file.ts';
import { enginePings } from '../engine/ping.ts';
import { SWITCH_UPLINK } from '../nodes/switch.ts';
import { UserError } from '../output/failure.ts';
import { pathsOf, type Settings } from '../settings.ts';
import { checkManagers } from './managers.ts';

/** Everything that would make `up` fail half-way, asked before the first change. Each answer names the cause and the way out. */
export async function checkHost(settings: Settings): Promise<void> {
  checkNodeIp(settings.nodeIp);
  await checkCidrs(settings);
  await checkKernel();
  await checkPorts(settings);
  await checkEngine(settings);
  await checkManagers(settings);
}

export function checkRoot(command: string): void {
  if (process.getuid?.() !== 0)
    throw new UserError(
      `'berth ${command}' needs root (it makes network namespaces, cgroups and rules): run it with sudo`,
    );
}

/** @throws UserError when no interface of this host has it. */
export function checkNodeIp(nodeIp: string): void {
  const own = Object.values(networkInterfaces()).flatMap((addresses) => addresses ?? []);
  if (!own.some((one) => one.address === nodeIp)) {
    throw new UserError(
      `--node-ip ${nodeIp}: no interface of this host has that address; it has ${
        own
          .filter((one) => !one.internal)
          .map((one) => one.address)
          .join(', ') || 'none'
      }`,
    );
  }
}

async function checkCidrs(settings: Settings): Promise<void> {
  const ownProtocols: number[] = Object.values(ROUTE_PROTOCOL);
  const cidrs: [string, string][] = [
    ['--pod-cidr', settings.podCidr],
    ['--service-cidr', settings.serviceCidr],
    ['--nodes-network', settings.nodesNetwork],
  ];
  for (const [flag, cidr] of cidrs) checkCidr(flag, cidr);
  for (const [index, [flag, cidr]] of cidrs.entries())
    for (const [otherFlag, other] of cidrs.slice(index + 1))
      if (prefixesOverlap(parsePrefix(cidr), parsePrefix(other)))
        throw new UserError(`${flag} ${cidr} and ${otherFlag} ${other} overlap: choose two that don't`);
  const netlink = openRtnetlink();
  try {
    const links = new Map((await netlink.listLinks()).map((link) => [link.index, link.name]));
    for (const route of await netlink.listRoutes()) {
      const dev = links.get(route.linkIndex ?? 0);
      // What an earlier run of ours left (it may have been killed) is no conflict: the pod bridge, our own routes, and those without a device.
      if (
        route.family !== 4 ||
        route.destination === '0.0.0.0/0' ||
        route.table !== 254 ||
        dev === settings.bridge ||
        dev === SWITCH_UPLINK ||
        dev === undefined ||
        ownProtocols.includes(route.protocol)
      )
        continue;
      const clash = cidrs.find(([, cidr]) => prefixesOverlap(parsePrefix(cidr), parsePrefix(route.destination)));
      if (clash)
        throw new UserError(
          `${clash[0]} ${clash[1]} overlaps the host's route ${route.destination} dev ${dev}: choose another range with ${clash[0]}`,
        );
    }
  } finally {
    netlink.close();
  }
}

/** Shortest and longest prefixes. */
const CIDR_LENGTHS: Record<string, readonly [least: number, most: number]> = {
  '--pod-cidr': [8, 24],
  '--service-cidr': [12, 24],
  '--nodes-network': [16, 29],
};

function checkCidr(flag: string, cidr: string): void {
  let prefix: ReturnType<typeof parsePrefix>;
  try {
    prefix = parsePrefix(cidr);
  } catch (error) {
    throw new UserError(`${flag}: ${(error as Error).message}; write it like 10.244.0.0/16`);
  }
  if (prefix.family !== 4) throw new UserError(`${flag} ${cidr}: only IPv4 ranges are supported for now`);
  if (formatPrefix(networkOf(prefix)) !== formatPrefix(prefix))
    throw new UserError(`${flag} ${cidr} has bits beyond its length: did you mean ${formatPrefix(networkOf(prefix))}?`);
  const [least, most] = CIDR_LENGTHS[flag]!;
  if (prefix.prefixLength < least || prefix.prefixLength > most)
    throw new UserError(`${flag} ${cidr}: the length must be between /${least} and /${most}`);
}

async function checkKernel(): Promise<void> {
  if (existsSync('/proc/sys/net/bridge/bridge-nf-call-iptables')) return;
  try {
    await run('modprobe', ['--dry-run', 'br_netfilter']);
  } catch (error) {
    if (!(error instanceof ExecError)) throw error;
    throw new UserError(
      'this kernel has no br_netfilter, without which pods of one node would bypass the service rules: boot a kernel that has it (CONFIG_BRIDGE_NETFILTER) or install its modules package',
    );
  }
}

async function checkPorts(settings: Settings): Promise<void> {
  const { dnsPid } = pathsOf(settings);
  const ownDnsLives = processesWith(dnsPid).length > 0;
  const ports: [string, number, string][] = [
    ['--api-port', settings.apiPort, '0.0.0.0'],
    ['--agent-port', settings.agentPort, '0.0.0.0'],
    ['--agent-health-port', settings.agentHealthPort, '127.0.0.1'],
    ['--proxy-health-port', settings.proxyHealthPort, '0.0.0.0'],
    ['--proxy-metrics-port', settings.proxyMetricsPort, '127.0.0.1'],
    ['--dns-port', settings.dnsPort, settings.nodeIp],
    ['--dns-metrics-port', settings.dnsMetricsPort, '127.0.0.1'],
  ];
  for (const [flag, port, address] of ports) {
    const other = ports.find(([otherFlag, otherPort]) => otherFlag !== flag && otherPort === port);
    if (other)
      throw new UserError(`port ${port} is given to both ${flag} and ${other[0]}: choose another for one of them`);
    // A DNS server that outlived its daemon keeps its ports until the next one takes over.
    if (ownDnsLives && flag.startsWith('--dns-')) continue;
    const problem = await bindProblem(port, address, flag === '--dns-port');
    if (problem)
      throw new UserError(
        `port ${port} (${flag}) cannot be used: ${problem}; stop what listens there ('ss -ltnp sport = :${port}' tells) or choose another with ${flag}`,
      );
  }
}

/** Undefined when the port is free for TCP, and for UDP where that is wanted too. */
async function bindProblem(port: number, address: string, udpToo: boolean): Promise<string | undefined> {
  const describe = (error: NodeJS.ErrnoException) => (error.code === 'EADDRINUSE' ? 'it is in use' : error.message);
  const overTcp = new Promise<string | undefined>((resolve) => {
    const server = createServer();
    server.once('error', (error) => resolve(describe(error)));
    server.listen({ port, host: address, exclusive: true }, () => server.close(() => resolve(undefined)));
  });
  const overUdp = () =>
    new Promise<string | undefined>((resolve) => {
      const socket = createSocket('udp4');
      socket.once('error', (error) => {
        socket.close();
        resolve(describe(error));
      });
      socket.bind({ port, address, exclusive: true }, () => socket.close(() => resolve(undefined)));
    });
  return (await overTcp) ?? (udpToo ? await overUdp() : undefined);
}

async function checkEngine(settings: Settings): Promise<void> {
  const endpoint = settings.dockerEndpoint;
  if (endpoint !== undefined) {
    if (!endpoint.startsWith('unix://'))
      throw new UserError(`--docker-endpoint ${endpoint}: only unix:// sockets are supported`);
    if (!(await enginePings(endpoint.slice('unix://'.length)))) {
      throw new UserError(
        `no Docker Engine answers on ${endpoint}: start it ('systemctl start docker'), or leave --docker-endpoint out and Berth runs one of its own`,
      );
    }
    return;
  }
  try {
    await run('dockerd', ['--version']);
  } catch {
    throw new UserError(
      "no Docker Engine answers on this host and there is no dockerd to start: run 'apt-get install docker.io'",
    );
  }
}
