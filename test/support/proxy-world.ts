import type { ExecutionContext } from 'ava';
import { kubeProxyConfiguration } from '../../proxy/config/kube-proxy-configuration.ts';
import type { ObjectSource } from '../../proxy/feed.ts';
import { createProxy, type ServiceProxy } from '../../proxy/proxy.ts';
import { type ConfigFlag, loadConfig } from '../../src/config/load.ts';
import type { InformerHandlers } from '../../src/kube/informer.ts';
import type { EndpointSlice, KubeObject, Node, Service } from '../../src/kube/types.ts';
import { run } from '../../src/linux/exec.ts';
import { readSysctl, writeSysctl } from '../../src/linux/sysctl.ts';
import type { Run } from '../../src/netfilter/iptables.ts';
import type { IpFamily } from '../../src/netfilter/tables.ts';
import { systemClock } from '../../src/runtime/clock.ts';
import { silentLogger } from '../../src/runtime/log.ts';
import { Registry } from '../../src/runtime/metrics.ts';
import { type NetPeer, startPeer } from './net-peer.ts';
import { createTestNetns, type TestNetns } from './netns.ts';
import { NODE_NAME } from './proxy.ts';

/** Objects that a test puts and takes away; what an informer would tell of them. */
export interface FakeSource<T extends KubeObject> extends ObjectSource<T> {
  put(...objects: T[]): void;
  remove(object: T): void;
  /** Ends the initial listing; until then `synced` waits. */
  finishListing(): void;
}

export function createFakeSource<T extends KubeObject>(): FakeSource<T> {
  const objects = new Map<string, T>();
  const subscribers = new Set<InformerHandlers<T>>();
  const listed = Promise.withResolvers<void>();
  const keyOf = ({ metadata }: T) => `${metadata.namespace}/${metadata.name}`;
  return {
    subscribe(handlers) {
      subscribers.add(handlers);
      for (const object of objects.values()) handlers.added?.(object);
      return () => subscribers.delete(handlers);
    },
    synced: (signal) =>
      new Promise((resolve, reject) => {
        signal?.addEventListener('abort', () => reject(signal.reason), { once: true });
        listed.promise.then(resolve);
      }),
    finishListing: () => listed.resolve(),
    put(...all) {
      for (const object of all) {
        const old = objects.get(keyOf(object));
        objects.set(keyOf(object), object);
        for (const one of subscribers) old ? one.updated?.(old, object) : one.added?.(object);
      }
    },
    remove(object) {
      objects.delete(keyOf(object));
      for (const one of subscribers) one.deleted?.(object);
    },
  };
}

export interface Sources {
  services: FakeSource<Service>;
  endpointSlices: FakeSource<EndpointSlice>;
  nodes: FakeSource<Node>;
}

export function createSources(): Sources {
  return { services: createFakeSource(), endpointSlices: createFakeSource(), nodes: createFakeSource() };
}

/** Quick to sync, no fixed ports of its own. */
const FLAGS: Record<string, string> = {
  clusterCIDR: '10.244.0.0/16',
  healthzBindAddress: '127.0.0.1:0',
  metricsBindAddress: '127.0.0.1:0',
  'iptables.minSyncPeriod': '1ms',
  'iptables.syncPeriod': '500ms',
};

export function proxyConfig(flags: Record<string, string> = {}) {
  const all: ConfigFlag[] = Object.entries({ ...FLAGS, ...flags }).map(([field, value]) => ({
    flag: `--${field}`,
    field,
    value,
  }));
  return loadConfig(kubeProxyConfiguration, { flags: all });
}

export interface RunningProxy {
  proxy: ServiceProxy;
  /** Every iptables-restore that has done its work, with its input. */
  restores: string[];
  stop(): Promise<void>;
}

/**
 * A whole proxy over a namespace, fed from fake sources. It ends with the test, and leaves its rules.
 * @param beforeRun may throw in a program's stead
 */
export function startProxy(
  t: ExecutionContext,
  netns: string,
  sources: Sources,
  flags: Record<string, string> = {},
  beforeRun: (program: string) => void = () => {},
  families?: readonly IpFamily[],
): RunningProxy {
  const restores: string[] = [];
  const spy: Run = async (program, args, options) => {
    beforeRun(program);
    const result = await run(program, args, options);
    if (program.endsWith('-restore')) restores.push(String(options?.input));
    return result;
  };
  const proxy = createProxy(
    { nodeName: NODE_NAME, config: proxyConfig(flags), netns, families },
    {
      informers: sources,
      run: spy,
      sysctls: {
        read: (key) => readSysctl(key, { netns }),
        write: (key, value) => writeSysctl(key, value, { netns }),
      },
      log: silentLogger,
      clock: systemClock,
      metrics: new Registry(),
    },
  );
  const controller = new AbortController();
  const done = proxy.run(controller.signal);
  done.catch((error) => t.log('the proxy has ended:', error));
  const stop = async () => {
    controller.abort();
    await done;
  };
  t.teardown(stop);
  return { proxy, restores, stop };
}

export interface World {
  node: TestNetns;
  /** Outside of the cluster; its default route is the node. 192.168.50.9, the node is 192.168.50.1. */
  client: NetPeer;
  /** The namespace of the client. */
  outside: TestNetns;
  /** A process of the node itself. */
  host: NetPeer;
  /** Pods 10.244.0.11 and 10.244.0.12 behind a bridge, each answering its name at TCP 8080 and UDP 5353. */
  pods: [NetPeer, NetPeer];
  /** Their network namespaces. */
  podPaths: readonly string[];
}

/** client ── node ── bridge ── two pods */
export async function createWorld(t: ExecutionContext): Promise<World> {
  const node = await createTestNetns(t, 'node');
  for (const key of ['net.ipv4.ip_forward', 'net.ipv4.conf.all.forwarding'])
    writeSysctl(key, '1', { netns: node.path });
  await node.ip('link', 'add', 'cni0', 'type', 'bridge');
  await node.ip('addr', 'add', '10.244.0.1/24', 'dev', 'cni0');
  await node.ip('link', 'set', 'cni0', 'up');
  const outside = await createTestNetns(t, 'client');
  await plug(node, outside, 'up0', '192.168.50.9/24', '192.168.50.1');
  await node.ip('addr', 'add', '192.168.50.1/24', 'dev', 'up0');
  // The node's own packets to a cluster IP need some route: it is looked up before they are translated.
  // The uplink ends in nothing; were it the client's link, redirects would use up the kernel's ration of ICMP refusals.
  await node.ip('link', 'add', 'wan0', 'type', 'veth', 'peer', 'name', 'wan1');
  await node.ip('addr', 'add', '192.168.60.1/24', 'dev', 'wan0');
  for (const end of ['wan0', 'wan1']) await node.ip('link', 'set', end, 'up');
  await node.ip('route', 'add', 'default', 'via', '192.168.60.9');
  const pods: NetPeer[] = [];
  const podPaths: string[] = [];
  for (const index of [1, 2]) {
    const pod = await createTestNetns(t, `pod${index}`);
    await plug(node, pod, `veth${index}`, `10.244.0.1${index}/24`, '10.244.0.1');
    // hairpin: a pod that reaches itself through its service gets its own packet back on the port that it came from.
    await node.ip('link', 'set', `veth${index}`, 'master', 'cni0');
    await node.run('bridge', ['link', 'set', 'dev', `veth${index}`, 'hairpin', 'on']);
    const peer = await startPeer(t, pod.path);
    await peer.serve({ name: `pod${index}`, tcp: 8080, udp: 5353 });
    pods.push(peer);
    podPaths.push(pod.path);
  }
  return {
    node,
    client: await startPeer(t, outside.path),
    outside,
    host: await startPeer(t, node.path),
    pods: pods as World['pods'],
    podPaths,
  };
}

async function plug(node: TestNetns, other: TestNetns, name: string, address: string, gateway: string): Promise<void> {
  await node.ip('link', 'add', name, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', other.name);
  await node.ip('link', 'set', name, 'up');
  await other.ip('addr', 'add', address, 'dev', 'eth0');
  await other.ip('link', 'set', 'eth0', 'up');
  await other.ip('route', 'add', 'default', 'via', gateway);
}
