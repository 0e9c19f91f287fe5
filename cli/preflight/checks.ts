import { createSocket } from 'node:dgram';
import { existsSync } from 'node:fs';
import { createServer } from 'node:net';
import { networkInterfaces } from 'node:os';
import { ExecError, run } from '../../src/linux/exec.ts';
import { processesWith } from '../daemon/pid-file.ts';
import { enginePings } from '../engine/ping.ts';
import { UserError } from '../output/failure.ts';
import { nodeIpsOf, pathsOf, type Settings } from '../settings.ts';
import { checkCidrs } from './cidrs.ts';
import { checkManagers } from './managers.ts';

/** Everything that would make `up` fail half-way, asked before the first change. Each answer names the cause and the way out. */
export async function checkHost(settings: Settings): Promise<void> {
  for (const nodeIp of nodeIpsOf(settings)) checkNodeIp(nodeIp);
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
