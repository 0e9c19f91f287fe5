/** Hosts with one pod each on a switch of their own, as network namespaces: what an overlay connects. */
import type { ExecutionContext } from 'ava';
import type { Peer, SelfNode } from '../../cni/overlay/backend.ts';
import type { VxlanOptions } from '../../cni/overlay/vxlan/options.ts';
import { writeSysctl } from '../../src/linux/sysctl.ts';
import { createTestNetns, type TestNetns } from './netns.ts';

export const VXLAN_DEFAULTS: VxlanOptions = {
  vni: 1,
  port: 0,
  mtu: 0,
  groupPolicy: false,
  learning: false,
  directRouting: false,
  txChecksumOffload: 'on',
};

export interface OverlayHost extends TestNetns {
  number: number;
  /** On the underlay: 192.0.2.<number>, 2001:db8::<number>. */
  address: string;
  /** The host's only pod, at 10.244.<number>.2 and fd00:244:<number>::2. */
  pod: TestNetns;
  self(): Promise<SelfNode>;
  /** This host as another one sees it. */
  peer(backendType: string, data?: Partial<Record<4 | 6, unknown>>): Peer;
}

interface HostOptions {
  /** Default: IPv4 alone. */
  families?: readonly (4 | 6)[];
  /** Of the wire. Default 1500. */
  mtu?: number;
}

export interface OverlaySwitch {
  netns: TestNetns;
  addHost(number: number, options?: HostOptions): Promise<OverlayHost>;
}

export async function createOverlaySwitch(t: Pick<ExecutionContext, 'teardown'>): Promise<OverlaySwitch> {
  const netns = await createTestNetns(t, 'switch');
  await netns.ip('link', 'add', 'switch', 'mtu', '9000', 'type', 'bridge', 'mcast_snooping', '0');
  await netns.ip('link', 'set', 'switch', 'up');
  return {
    netns,
    async addHost(number, { families = [4], mtu = 1500 }: HostOptions = {}) {
      const host = await createTestNetns(t, `host${number}`);
      const pod = await createTestNetns(t, `pod${number}`);
      const port = `host${number}`;
      const both = (size: number) => ['mtu', String(size)];
      await netns.ip(
        ...['link', 'add', port, ...both(mtu), 'type', 'veth', 'peer', 'name', 'eth0', ...both(mtu)],
        'netns',
        host.name,
      );
      await netns.ip('link', 'set', port, 'master', 'switch', 'up');
      await host.ip('link', 'add', 'cni0', 'type', 'bridge');
      await host.ip(...['link', 'add', 'veth0', 'type', 'veth', 'peer', 'name', 'eth0', 'netns', pod.name]);
      await host.ip('link', 'set', 'veth0', 'master', 'cni0', 'up');
      for (const family of families) {
        const { node, gateway, podIp, network, everything } = addressesOf(number)[family];
        const v = family === 4 ? [] : ['nodad'];
        await host.ip('addr', 'add', `${node}/${family === 4 ? 24 : 64}`, 'dev', 'eth0', ...v);
        await host.ip('addr', 'add', `${gateway}/${prefixLength(network)}`, 'dev', 'cni0', ...v);
        await pod.ip('addr', 'add', `${podIp}/${prefixLength(network)}`, 'dev', 'eth0', ...v);
        const key = family === 4 ? 'net.ipv4.ip_forward' : 'net.ipv6.conf.all.forwarding';
        writeSysctl(key, '1', { netns: host.path });
        await pod.ip('link', 'set', 'eth0', 'up');
        await host.ip('link', 'set', 'cni0', 'up');
        await pod.ip(`-${family}`, 'route', 'add', everything, 'via', gateway);
      }
      await host.ip('link', 'set', 'eth0', 'up');
      const perFamily = (what: (one: HostAddresses) => string) =>
        Object.fromEntries(families.map((family) => [family, what(addressesOf(number)[family])]));
      const facts = { podCidrs: perFamily(({ network }) => network), publicIps: perFamily(({ node }) => node) };
      return {
        ...host,
        number,
        address: addressesOf(number)[4].node,
        pod,
        async self() {
          const [link] = await host.ipJson<{ ifindex: number }>('link', 'show', 'eth0');
          return { name: `node${number}`, ...facts, uplink: { name: 'eth0', index: link!.ifindex, mtu } };
        },
        peer: (backendType, backendData = {}) => ({ node: `node${number}`, ...facts, backendType, backendData }),
      };
    },
  };
}

interface HostAddresses {
  node: string;
  gateway: string;
  podIp: string;
  network: string;
  everything: string;
}

function addressesOf(number: number): Record<4 | 6, HostAddresses> {
  return {
    4: {
      node: `192.0.2.${number}`,
      gateway: `10.244.${number}.1`,
      podIp: `10.244.${number}.2`,
      network: `10.244.${number}.0/24`,
      everything: '10.244.0.0/16',
    },
    6: {
      node: `2001:db8::${number}`,
      gateway: `fd00:244:${number}::1`,
      podIp: `fd00:244:${number}::2`,
      network: `fd00:244:${number}::/64`,
      everything: 'fd00:244::/32',
    },
  };
}

const prefixLength = (cidr: string) => cidr.split('/')[1]!;

/** Whether a packet of `sizeBytes` (IP header and all) gets there and back in one piece, within a second: for what is tried, and what must not be. */
export const reaches = (from: TestNetns, to: string, sizeBytes?: number) => ping(from, to, sizeBytes, 1);

/** The same for what has to be, however long it takes on a busy machine. */
export const doesReach = (from: TestNetns, to: string, sizeBytes?: number) => ping(from, to, sizeBytes, 30);

async function ping(from: TestNetns, to: string, sizeBytes: number | undefined, seconds: number): Promise<boolean> {
  const headers = to.includes(':') ? 48 : 28;
  const size = sizeBytes === undefined ? [] : ['-s', String(sizeBytes - headers)];
  const command = [to.includes(':') ? 'ping6' : 'ping', '-c1', `-W${seconds}`, ...size, to];
  return from.run('busybox', command, { timeoutMs: (seconds + 30) * 1000 }).then(
    () => true,
    () => false,
  );
}
