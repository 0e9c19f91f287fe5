/**
 * The backends by flannel's names. Each is loaded when it is used: a node runs one of them.
 *
 * To add one: `cni/overlay/<backend>/…` exports `create<Backend>(options, deps)`; its line here reads the options from net-conf.json's
 * `Backend` object and says which links it makes. Those of all other backends are leftovers: the overlay deletes them at its start
 * (flanneld's have the same names), and with them every route over them. Routes with ROUTE_PROTOCOL.overlay in the main table are the
 * running backend's alone, whoever wrote them: its full sync removes those that it does not want, and `removeOverlay` removes the rest.
 */
import type { run } from '../../src/linux/exec.ts';
import type { Clock } from '../../src/runtime/clock.ts';
import type { Logger } from '../../src/runtime/log.ts';
import type { Registry } from '../../src/runtime/metrics.ts';
import { runAll } from '../../src/runtime/run-all.ts';
import type { OverlayBackend } from './backend.ts';
import type { BackendFields } from './backend-fields.ts';

/** What a backend is given besides its options. */
export interface BackendDeps {
  log: Logger;
  clock: Clock;
  run: typeof run;
  /** Path of the host's network namespace when it is not the process's own. */
  hostNetns?: string;
  /** For what only one backend has to tell. */
  registry?: Registry;
}

export interface BackendEntry {
  /** One line for `--help` and the docs. */
  summary: string;
  /** Links that this backend makes, ours and flanneld's alike. */
  links: readonly { kind: string; name: RegExp }[];
  /** Writes no routes of ROUTE_PROTOCOL.overlay: those that there are were an earlier backend's. */
  hasNoRoutes?: true;
  /** Of what is left of it besides links and routes of ROUTE_PROTOCOL.overlay: a daemon, files. Called where `links` are deleted. Idempotent. */
  removeLeftovers?(deps: BackendDeps): Promise<void>;
  /** Reads its options (defaults where the object is empty) and makes it; touches nothing yet. @throws ExplainedError for bad options. */
  open(fields: BackendFields, deps: BackendDeps): Promise<OverlayBackend>;
}

const table = {
  'host-gw': {
    summary: 'plain routes between nodes of one L2 network',
    links: [],
    async open(_fields, deps) {
      const { createHostGateway } = await import('./host-gw/host-gateway.ts');
      return createHostGateway(deps);
    },
  },
  alloc: {
    summary: 'somebody else sees to the ways; addresses and subnet.env alone',
    links: [],
    hasNoRoutes: true,
    async open() {
      const { createAlloc } = await import('./alloc.ts');
      return createAlloc();
    },
  },
  bgp: {
    summary: "BIRD tells other nodes and routers this node's pods, as Calico does",
    links: [],
    hasNoRoutes: true,
    async open(fields, deps) {
      const [{ createBgp }, { readBgpOptions }] = await Promise.all([
        import('./bgp/bgp.ts'),
        import('./bgp/options.ts'),
      ]);
      return createBgp(readBgpOptions(fields), deps);
    },
    async removeLeftovers(deps) {
      const { createBgp } = await import('./bgp/bgp.ts');
      const { BGP_DEFAULTS } = await import('./bgp/options.ts');
      const { findBirdDirectories } = await import('./bgp/running-birds.ts');
      // One of a directory of its own (Backend.Directory) is known by its process.
      const directories = new Set([BGP_DEFAULTS.directory, ...(await findBirdDirectories(deps.hostNetns))]);
      await runAll(
        'remove what backend bgp left',
        [...directories].map((directory) => () => createBgp({ ...BGP_DEFAULTS, directory }, deps).remove()),
      );
    },
  },
  vxlan: {
    summary: 'VXLAN between nodes of any network (flannel.1)',
    links: [{ kind: 'vxlan', name: /^flannel(-v6)?\.\d+$/ }],
    async open(fields, deps) {
      const { readVxlanOptions } = await import('./vxlan/options.ts');
      const { createVxlan } = await import('./vxlan/vxlan.ts');
      return createVxlan(readVxlanOptions(fields), deps);
    },
  },
  wireguard: {
    summary: 'encrypted by the kernel (Linux 5.6, module wireguard)',
    links: [{ kind: 'wireguard', name: /^flannel-wg(-v6)?$/ }],
    async open(fields, deps) {
      const [{ createWireguardBackend }, { readWireguardOptions }] = await Promise.all([
        import('./wireguard/wireguard.ts'),
        import('./wireguard/options.ts'),
      ]);
      return createWireguardBackend(readWireguardOptions(fields), deps);
    },
    async removeLeftovers({ hostNetns }) {
      const [{ removeUnusedKey }, { openRtnetlink }] = await Promise.all([
        import('./wireguard/device.ts'),
        import('../../src/linux/netlink/rtnetlink.ts'),
      ]);
      const netlink = openRtnetlink(hostNetns);
      await removeUnusedKey(netlink).finally(() => netlink.close());
    },
  },
  udp: {
    summary: 'by this process, over TUN and UDP: slow, for kernels without anything better (IPv4)',
    links: [{ kind: 'tun', name: /^flannel\d+$/ }],
    async open(fields, deps) {
      const [{ createUdp }, { readUdpOptions }] = await Promise.all([
        import('./udp/udp.ts'),
        import('./udp/options.ts'),
      ]);
      return createUdp(readUdpOptions(fields), deps);
    },
  },
  ipip: {
    summary: 'IPv4 in IPv4: less header than VXLAN (kernel module ipip)',
    links: [{ kind: 'ipip', name: /^flannel\.ipip$/ }],
    async open(fields, deps) {
      const [{ createIpip }, { readIpipOptions }] = await Promise.all([
        import('./ipip/ipip.ts'),
        import('./ipip/options.ts'),
      ]);
      return createIpip(readIpipOptions(fields), deps);
    },
  },
} satisfies Record<string, BackendEntry>;

export const BACKENDS: ReadonlyMap<string, BackendEntry> = new Map<string, BackendEntry>(Object.entries(table));
