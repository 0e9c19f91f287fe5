/** Host ports of a pod that the agent's pod network attached, beside Services of a proxy in any mode. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ExecutionContext } from 'ava';
import { createPodNetwork } from '../../cni/invoke/pod-network.ts';
import { writeSysctl } from '../../src/linux/sysctl.ts';
import { systemClock } from '../../src/runtime/clock.ts';
import { silentLogger } from '../../src/runtime/log.ts';
import { eventually } from './eventually.ts';
import { NODE_ADDRESS } from './host-ports.ts';
import { type NetPeer, startPeer } from './net-peer.ts';
import { createTestNetns } from './netns.ts';
import { serviceOf, sliceOf } from './proxy.ts';
import { BEHAVIOUR_NODE } from './proxy-behaviours.ts';
import { createSources, type Sources, startProxy, type World } from './proxy-world.ts';

export const HOST_PORTS = [
  { hostPort: 9090, containerPort: 8080, protocol: 'tcp' },
  { hostPort: 9053, containerPort: 5353, protocol: 'udp' },
  { hostPort: 9092, containerPort: 8080, protocol: 'tcp', hostIP: NODE_ADDRESS },
] as const;

/** What writes host ports: Berth's own network, or a conflist whose portmap has this backend. */
export type HostPortWriter = 'built-in' | 'iptables' | 'nftables';

export interface HostPortScene {
  /** Of the pod with host ports. */
  pod: NetPeer;
  address: string;
  /** Follows the kernel as in an agent, until it is called what this answers. */
  keep(): () => Promise<void>;
}

/** A third pod on the world's bridge, attached as an agent does it. */
export async function attachHostPorts(
  t: ExecutionContext,
  world: World,
  writer: HostPortWriter,
  systemBus?: string,
): Promise<HostPortScene> {
  const folder = mkdtempSync(join(tmpdir(), 'host-ports-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  writeSysctl('net.bridge.bridge-nf-call-iptables', '1', { netns: world.node.path });
  const confDir = join(folder, 'net.d');
  mkdirSync(confDir);
  if (writer !== 'built-in')
    writeFileSync(
      join(confDir, '10-net.conflist'),
      renderConflist(writer, folder, systemBus === undefined ? 'iptables' : 'firewalld'),
    );
  const network = createPodNetwork(
    {
      mode: 'auto',
      podCidrs: () => ['10.244.0.0/24'],
      serviceCidrs: ['10.96.0.0/12'],
      confDir,
      dataDir: folder,
      cacheDir: folder,
      binDirs: [],
      hostNetns: world.node.path,
      ...(systemBus !== undefined && { systemBus }),
    },
    { log: silentLogger, clock: systemClock },
  );
  t.teardown(() => network.close());
  const netns = await createTestNetns(t, 'pod3');
  const sandbox = { sandboxId: 'three', namespace: 'ns', name: 'three', uid: 'three' };
  const attached = { ...sandbox, netnsPath: netns.path, hostPorts: [...HOST_PORTS] };
  const { ips } = await network.attach(attached, new AbortController().signal);
  const pod = await startPeer(t, netns.path);
  await pod.serve({ name: 'pod3', tcp: 8080, udp: 5353 });
  return {
    pod,
    address: ips[0]!,
    keep() {
      const controller = new AbortController();
      const running = network.run(controller.signal);
      const stop = async () => {
        controller.abort();
        await running;
      };
      t.teardown(stop);
      return stop;
    },
  };
}

function renderConflist(backend: string, dataDir: string, firewall: string): string {
  const ipam = { type: 'host-local', dataDir, ranges: [[{ subnet: '10.244.0.0/24' }]] };
  return JSON.stringify({
    cniVersion: '1.0.0',
    name: 'net',
    plugins: [
      { type: 'bridge', bridge: 'cni0', isDefaultGateway: true, hairpinMode: true, ipam },
      { type: 'portmap', backend, capabilities: { portMappings: true } },
      { type: 'firewall', backend: firewall },
    ],
  });
}

/** A Service with a NodePort, whose endpoint is the world's first pod. */
export function putService(): Sources {
  const sources = createSources();
  sources.nodes.put(BEHAVIOUR_NODE);
  const ports = [{ port: 80, nodePort: 30_100, protocol: 'TCP' as const }];
  sources.services.put(serviceOf('ns/web', '10.96.1.1', { type: 'NodePort', ports }));
  sources.endpointSlices.put(sliceOf('ns/web', ['10.244.0.11']));
  for (const source of Object.values(sources)) source.finishListing();
  return sources;
}

/** Runs a proxy in the mode until its rules are there. @returns what ends it */
export async function runProxy(
  t: ExecutionContext,
  world: World,
  sources: Sources,
  mode: string,
  families?: Parameters<typeof startProxy>[5],
): Promise<() => Promise<void>> {
  const flags = { mode, 'nftables.minSyncPeriod': '1ms', 'nftables.syncPeriod': '500ms', 'ipvs.syncPeriod': '3s' };
  const { stop } = startProxy(t, world.node.path, sources, flags, undefined, families);
  await eventually(`only mode ${mode} is there`, async () => (await readModes(world)).join() === mode);
  await serviceAnswers(world);
  return stop;
}

/** Which modes have rules: what the one before has left goes when its successor is ready. */
async function readModes({ node }: World): Promise<string[]> {
  const nat = await node.run('iptables-save', ['-t', 'nat']);
  const tables = (await node.run('nft', ['list', 'tables'])).split('\n');
  const is = {
    iptables: nat.includes('KUBE-SVC-'),
    userspace: tables.some((table) => table.endsWith(' kube-proxy-userspace')),
    nftables: tables.some((table) => table.endsWith(' kube-proxy')),
    ipvs: (await node.ip('link', 'show')).includes('kube-ipvs0'),
  };
  return Object.entries(is).flatMap(([mode, has]) => (has ? [mode] : []));
}

export async function serviceAnswers({ host, client }: World): Promise<void> {
  await eventually(
    'the Service answers',
    async () =>
      (await askTcp(host, '10.96.1.1', 80, 300)).startsWith('pod1') &&
      (await askTcp(client, NODE_ADDRESS, 30_100, 300)).startsWith('pod1'),
  );
}

const askTcp = (peer: NetPeer, host: string, port: number, timeoutMs = 3000) =>
  peer.ask({ protocol: 'tcp', host, port, timeoutMs });

/** Everybody asks for the host ports, and for the Service. */
export async function lookAtHostPorts(
  t: ExecutionContext,
  world: World,
  { pod }: HostPortScene,
  when: string,
): Promise<void> {
  const { client, host, pods } = world;
  const [other] = pods;
  const udp = (peer: NetPeer) => peer.ask({ protocol: 'udp', host: NODE_ADDRESS, port: 9053, timeoutMs: 3000 });
  t.is(await askTcp(client, NODE_ADDRESS, 9090), 'pod3 192.168.50.9', `${when}: from outside, by its own address`);
  t.is(await udp(client), 'pod3 192.168.50.9', `${when}: UDP from outside`);
  t.is(await askTcp(client, NODE_ADDRESS, 9092), 'pod3 192.168.50.9', `${when}: by the one address`);
  t.regex(await askTcp(host, NODE_ADDRESS, 9090), /^pod3 /, `${when}: from the node`);
  t.regex(await askTcp(host, '127.0.0.1', 9090), /^pod3 /, `${when}: from the node by localhost`);
  t.not((await askTcp(host, '127.0.0.1', 9092)).slice(0, 4), 'pod3', `${when}: not by another address`);
  t.regex(await askTcp(other, NODE_ADDRESS, 9090), /^pod3 /, `${when}: from a pod of the node`);
  t.regex(await udp(other), /^pod3 /, `${when}: UDP from a pod of the node`);
  t.regex(await askTcp(pod, NODE_ADDRESS, 9090), /^pod3 /, `${when}: from the pod itself`);
  t.regex(await udp(pod), /^pod3 /, `${when}: UDP from the pod itself`);
  t.regex(await askTcp(client, NODE_ADDRESS, 30_100), /^pod1 /, `${when}: NodePort`);
  t.regex(await askTcp(pod, '10.96.1.1', 80), /^pod1 /, `${when}: the Service from the pod`);
}
