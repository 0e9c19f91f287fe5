/** What is to work in a cluster of two nodes whatever connects them: between pods, nodes, Services and the world, in all sizes. */
import type { ExecutionContext } from 'ava';
import type { Pod, Service } from '../../src/kube/types.ts';
import { type ClusterHost, until } from './cluster-host.ts';
import { httpServer, pod, service } from './manifests.ts';
import type { Traffic, TrafficAnswer, TrafficRequest } from './traffic.ts';

/** In both pods and on both nodes. */
export const ECHO_PORT = 7;
const NODE_PORTS = { near: 30007, far: 30008 };
/** More than any buffer on the way. */
const STREAM_BYTES = 2 << 20;
/** Many fragments. */
const LARGE_DATAGRAM_BYTES = 8000;
const IP_AND_UDP_BYTES = { 4: 28, 6: 48 };

type End = 'near' | 'far';
const ENDS = ['near', 'far'] as const;

export interface StoryNode {
  name: string;
  /** Of each family, in the cluster's order. */
  addresses: readonly string[];
}

interface Place {
  node: StoryNode;
  pod: readonly string[];
  service: readonly string[];
}

export type StoryCluster = Pick<ClusterHost, 'kubectl' | 'apply' | 'get'>;

export interface OverlayStory {
  /** One pod on each node, each with a Service. */
  applyPods(): Promise<void>;
  /** Waits until both run, and serves in them and on the nodes. */
  begin(): Promise<Record<End, Place>>;
  /** All of it, for pods whose links have this MTU. */
  check(t: ExecutionContext, mtu: number): Promise<void>;
  /** What `ask` sends from a host outside to the near node's `hosts` comes to the far pod, in all sizes, though the way gets narrower. */
  checkFromOutside(
    t: ExecutionContext,
    ask: (requests: TrafficRequest[]) => Promise<TrafficAnswer[]>,
    way: { hosts: readonly string[]; mtu: number; uplinkMtu: number },
  ): Promise<void>;
  end(): Promise<void>;
}

export function createOverlayStory(
  cluster: StoryCluster,
  traffic: Traffic,
  nodes: Record<End, StoryNode>,
  timeoutMs = 60_000,
): OverlayStory {
  const familyOf = (address: string) => (address.includes(':') ? 6 : 4);
  const families = nodes.near.addresses.map(familyOf);
  let places: Record<End, Place>;

  const place = async (end: End): Promise<Place> => {
    const { status } = await cluster.get<Pod>('pod', end);
    const { spec } = await cluster.get<Service>('service', end);
    return {
      node: nodes[end],
      pod: (status?.podIPs ?? []).map(({ ip }) => ip ?? ''),
      service: spec.clusterIPs ?? [],
    };
  };
  const requests = (host: string, mtu: number, port = ECHO_PORT): TrafficRequest[] => {
    const whole = mtu - IP_AND_UDP_BYTES[familyOf(host)];
    const datagrams = [100, whole, LARGE_DATAGRAM_BYTES].map((bytes) => ({ protocol: 'udp' as const, bytes }));
    return [{ protocol: 'tcp' as const, bytes: STREAM_BYTES }, ...datagrams].map((one) => ({
      ...one,
      host,
      port,
      timeoutMs,
    }));
  };
  /** The address that the node takes towards another one. */
  const sourceTo = async (node: string, to: string) =>
    / src (\S+)/.exec(await traffic.run(node, `ip -o route get ${to}`))?.[1] ?? '';
  /** IP packets that the node had to cut in pieces so far, its tunnel's own ones too. */
  const cutPackets = async (node: string) => {
    const names4 = 'Ip FragCreates';
    const text = await traffic.run(node, 'cat /proc/net/snmp /proc/net/snmp6');
    const [header = [], values = []] = text
      .split('\n')
      .filter((line) => line.startsWith('Ip: '))
      .map((line) => line.split(' '));
    const six = Number(/^Ip6FragCreates\s+(\d+)/m.exec(text)?.[1] ?? 0);
    return { [names4]: Number(values[header.indexOf('FragCreates')]), 'Ip6 FragCreates': six };
  };
  /**
   * Datagrams of the size of the uplink, from a node to another one's NodePort or back to a pod, teach it a path MTU for the other node's
   * address, and its tunnel to that node heeds it too, for ten minutes: Linux knows one such figure for each address.
   */
  const forgetPathMtus = async () => {
    for (const { addresses } of Object.values(nodes))
      for (const family of ['-4', '-6']) await traffic.run(addresses[0]!, `ip ${family} route flush cache`);
  };

  return {
    async applyPods() {
      const policy = families.length > 1 ? { ipFamilyPolicy: 'RequireDualStack' } : {};
      const ports = (nodePort: number) =>
        ['TCP', 'UDP'].map((protocol) => ({ name: protocol.toLowerCase(), protocol, port: ECHO_PORT, nodePort }));
      await cluster.apply(
        ...ENDS.flatMap((end) => [
          pod(end, httpServer(), { nodeName: nodes[end].name }, { labels: { app: end } }),
          service(end, { app: end }, { type: 'NodePort', ports: ports(NODE_PORTS[end]), ...policy }),
        ]),
      );
    },
    async begin() {
      await until(
        'both pods run',
        async () =>
          (await cluster.kubectl('wait', 'pod/near', 'pod/far', '--for=condition=Ready', '--timeout=5s')) !== '',
        timeoutMs,
      );
      places = { near: await place('near'), far: await place('far') };
      for (const { node, pod } of Object.values(places))
        for (const address of [node.addresses[0]!, pod[0]!]) await traffic.serve(address, ECHO_PORT);
      // The overlays have just heard of each other's nodes, the proxies of the Services.
      for (const [from, to] of [
        [places.near, places.far],
        [places.far, places.near],
      ] as const)
        await until(
          `${from.node.name} reaches the pod and the Service on ${to.node.name}`,
          async () => {
            const light = [...to.pod, ...to.service].flatMap((host) =>
              (['tcp', 'udp'] as const).map((protocol) => ({
                protocol,
                host,
                port: ECHO_PORT,
                bytes: 100,
                timeoutMs: 1000,
              })),
            );
            return (await traffic.ask(from.pod[0]!, light)).every(({ error }) => error === undefined);
          },
          timeoutMs,
        );
      return places;
    },
    async check(t, mtu) {
      const { near, far } = places;
      for (const { pod } of [near, far])
        t.regex(await traffic.run(pod[0]!, 'ip -o link show eth0'), new RegExp(` mtu ${mtu} `));
      const all = async (from: string, host: string, seenAs: string | undefined, what: string, port = ECHO_PORT) => {
        const asked = requests(host, mtu, port);
        const answers = await traffic.ask(from, asked);
        const expected: TrafficAnswer[] = asked.map((_, index) => ({ from: seenAs ?? answers[index]?.from ?? '' }));
        t.deepEqual(answers, expected, what);
      };
      for (const index of families.keys()) {
        await forgetPathMtus();
        // A node puts datagrams that came in pieces together, and cuts them again.
        const whole = requests(far.pod[index]!, mtu).filter(({ bytes }) => bytes !== LARGE_DATAGRAM_BYTES);
        const cutBefore = await Promise.all([near, far].map(({ node }) => cutPackets(node.addresses[0]!)));
        const seen = await traffic.ask(near.pod[0]!, whole);
        const cutAfter = await Promise.all([near, far].map(({ node }) => cutPackets(node.addresses[0]!)));
        t.deepEqual(
          seen,
          whole.map(() => ({ from: near.pod[index] })),
          'what fits a pod fits the way',
        );
        t.deepEqual(cutAfter, cutBefore, 'no node cut a packet in pieces');
        await all(near.pod[0]!, far.pod[index]!, near.pod[index], 'pod → pod there, which sees who asks');
        await all(far.pod[0]!, near.pod[index]!, far.pod[index], 'and back');
        await all(near.pod[0]!, far.service[index]!, near.pod[index], 'pod → Service of the pod there');
        await all(near.pod[0]!, near.service[index]!, undefined, 'pod → itself by its Service');
        const node = near.node.addresses[0]!;
        const seenAs = await sourceTo(node, far.pod[index]!);
        await all(node, far.pod[index]!, seenAs, 'node → pod there');
        await all(node, far.service[index]!, seenAs, 'node → Service of the pod there');
        const there = far.node.addresses[index]!;
        // Routers of IPv6 cut nothing: a node's first answer that is too big for the pod's link is lost, and the node told so.
        if (families[index] === 6)
          await traffic.ask(near.pod[0]!, [{ ...requests(there, mtu).at(-1)!, timeoutMs: 1000 }]);
        await all(near.pod[0]!, there, await sourceTo(node, there), 'pod → node there, as its node');
        await all(node, far.node.addresses[index]!, undefined, 'node → NodePort there → pod here', NODE_PORTS.near);
      }
    },
    async checkFromOutside(t, ask, { hosts, mtu, uplinkMtu }) {
      for (const host of hosts) {
        await forgetPathMtus();
        const [stream, small, whole, large] = requests(host, uplinkMtu, NODE_PORTS.far);
        const refused = mtu < uplinkMtu ? await ask([whole!]) : [];
        t.deepEqual(refused, mtu < uplinkMtu ? [{ error: 'EMSGSIZE' }] : [], 'too big for the tunnel: it is told so');
        const node = places.near.node.addresses[0]!;
        const from = await sourceTo(node, places.far.pod[hosts.indexOf(host)]!);
        const rest = [whole!, small!, large!, stream!];
        t.deepEqual(
          await ask(rest),
          rest.map(() => ({ from })),
          'outside → NodePort here → pod there',
        );
      }
    },
    end: () => traffic.stop(),
  };
}
