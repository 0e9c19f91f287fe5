/** What flanneld does with backend vxlan, done with ip(8) and bridge(8) alone: the other side of interoperation. */
import type { OverlayHost } from './overlay-hosts.ts';

/** As another node's annotations tell it. */
export interface FlannelPeer {
  /** `10.244.2.0/24` */
  podCidr: string;
  publicIp: string;
  mac: string;
}

/** The device, with the node's first pod address. */
export async function makeFlannelDevice(host: OverlayHost, mac: string, vni = 1): Promise<void> {
  const { number, address } = host;
  const link = `flannel.${vni}`;
  const options = ['id', `${vni}`, 'local', address, 'dev', 'eth0', 'dstport', '8472', 'nolearning'];
  await host.ip('link', 'add', link, 'address', mac, 'mtu', '1450', 'type', 'vxlan', ...options);
  await host.ip('addr', 'add', `10.244.${number}.0/32`, 'dev', link);
  await host.ip('link', 'set', link, 'up');
}

/** The three entries that lead to a peer. */
export async function addFlannelPeer(host: OverlayHost, peer: FlannelPeer, vni = 1): Promise<void> {
  const { podCidr, publicIp, mac } = peer;
  const [network] = podCidr.split('/');
  const link = `flannel.${vni}`;
  await host.ip('neigh', 'replace', network!, 'lladdr', mac, 'dev', link, 'nud', 'permanent');
  await host.run('bridge', ['fdb', 'replace', mac, 'dev', link, 'dst', publicIp, 'self', 'permanent']);
  await host.ip('route', 'replace', podCidr, 'via', network!, 'dev', link, 'onlink');
}
