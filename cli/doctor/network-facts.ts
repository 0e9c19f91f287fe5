import { readFileSync } from 'node:fs';
import { release } from 'node:os';
import { buildBuiltinNetwork } from '../../cni/invoke/builtin-network.ts';
import { readConfigurationDirectory } from '../../cni/invoke/configuration-directory.ts';
import { isMeantForPods } from '../../cni/invoke/network-choice.ts';
import type { NetworkConfiguration } from '../../cni/invoke/network-configuration.ts';
import { ROUTE_PROTOCOL } from '../../cni/node/route-protocol.ts';
import { annotationKeys, podCidrsOf } from '../../cni/overlay/annotations.ts';
import type { PerFamily } from '../../cni/overlay/backend.ts';
import { readBgpSessions } from '../../cni/overlay/bgp/bgp.ts';
import { isBirdRoute } from '../../cni/overlay/bgp/bird-routes.ts';
import { BGP_DIRECTORY } from '../../cni/overlay/bgp/options.ts';
import { findOverlayLinks } from '../../cni/overlay/leftovers.ts';
import { createPeerTable } from '../../cni/overlay/peer-table.ts';
import { ownPlugins } from '../../cni/programs/all.ts';
import { locatePlugin } from '../../cni/wire/own-launcher.ts';
import { nodes } from '../../src/kube/resources.ts';
import { readTxChecksumOffload } from '../../src/linux/checksum-offload.ts';
import { run } from '../../src/linux/exec.ts';
import { openRtnetlink } from '../../src/linux/netlink/rtnetlink.ts';
import { readSysctl } from '../../src/linux/sysctl.ts';
import { systemClock } from '../../src/runtime/clock.ts';
import { adminClient } from '../cluster/admin-client.ts';
import { cniDefaults, parseBinDirs, parseCniMode } from '../cni/flags.ts';
import { daemonPid } from '../daemon/launch.ts';
import { readOverlaySource } from '../roots/overlay-settings.ts';
import { overlaySourceOf } from '../roots/own-overlay.ts';
import type { Settings } from '../settings.ts';
import { readFirewalld } from './firewalld.ts';
import { readForwardDroppers } from './forward-droppers.ts';
import type { NetworkFacts } from './network.ts';
import { readLearnedMtus } from './path-mtu.ts';
import { readWireguardTraffic } from './wireguard.ts';

const SUBNET_FILE = '/run/flannel/subnet.env';
const MAIN_TABLE = 254;
const API_TIMEOUT_MS = 5_000;

/** Looks only. Without a cluster in the root directory: what one with all defaults would find. */
export async function readNetworkFacts(settings: Settings | undefined): Promise<NetworkFacts> {
  const isRunning = settings !== undefined && daemonPid(settings) !== undefined;
  const mode = parseCniMode(settings?.cni ?? cniDefaults.cni);
  const confDir = settings?.cniConfDir ?? cniDefaults.cniConfDir;
  const { configuration, problems } =
    mode === 'builtin'
      ? { configuration: undefined, problems: [] }
      : readConfigurationDirectory(confDir, mode === 'auto' ? isMeantForPods : undefined);
  const bridge = settings?.bridge ?? 'cni0';
  const network = configuration ?? (mode === 'directory' ? undefined : builtin(settings, bridge));
  const netlink = openRtnetlink();
  try {
    const [links, routes] = await Promise.all([netlink.listLinks(), netlink.listRoutes({ table: MAIN_TABLE })]);
    const overlayLinks = findOverlayLinks(links).map(({ name }) => name);
    const vxlan = links.filter(({ name, kind }) => kind === 'vxlan' && overlayLinks.includes(name));
    const overlay = readOverlay(settings);
    const firewalld = await readFirewalld((settings?.podCidr ?? '').split(',').filter(Boolean));
    return {
      isRunning,
      mode,
      confDir,
      network: network && {
        name: network.name,
        ...(network.file !== undefined && { file: network.file }),
        plugins: network.plugins.map(({ type }) => type),
      },
      // A directory that is not there is what most hosts have.
      fileProblems: problems.filter(({ file }) => file !== confDir),
      missingPlugins: network ? findMissing(network, settings?.cniBinDir ?? cniDefaults.cniBinDir) : [],
      overlay,
      links,
      overlayLinks,
      routes,
      isOwnRoute: (route) =>
        isBirdRoute(route) || ([ROUTE_PROTOCOL.overlay, ROUTE_PROTOCOL.node] as number[]).includes(route.protocol),
      subnetMtu: readSubnetMtu(),
      bridge,
      clusterRanges: [
        ...(settings?.podCidr ?? '').split(',').map((cidr) => ({ what: "the pods' range", cidr })),
        ...(settings?.serviceCidr ?? '').split(',').map((cidr) => ({ what: "the Services' range", cidr })),
      ].filter(({ cidr }) => cidr !== ''),
      ...(isRunning ? await readPeers(settings, overlay) : { peers: undefined, refused: [] }),
      learnedMtus: isRunning ? await readLearnedMtus() : [],
      kernelRelease: release(),
      checksumOffload: Object.fromEntries(vxlan.map(({ name }) => [name, readTxChecksumOffload(name) ?? false])),
      ...(overlay.type === 'wireguard' && {
        wireguard: await readWireguardTraffic(
          links.filter(({ name, kind }) => kind === 'wireguard' && overlayLinks.includes(name)).map(({ name }) => name),
          { clock: systemClock },
        ),
      }),
      ...(overlay.type === 'bgp' && { bgpSessions: await readBgpSessions(BGP_DIRECTORY, systemClock) }),
      ...(firewalld && { firewalld }),
      forwardDroppers: await readForwardDroppers(),
      sysctl: (key) => readSysctl(key),
    };
  } finally {
    netlink.close();
  }
}

function builtin(settings: Settings | undefined, bridge: string): NetworkConfiguration {
  return buildBuiltinNetwork({
    name: 'berth',
    bridge,
    dataDir: settings?.cniDataDir ?? '',
    podCidrs: [],
    mtu: undefined,
  });
}

function findMissing({ plugins }: NetworkConfiguration, binDirs: string): string[] {
  const own = ownPlugins({ run, sleep: async () => {} });
  return plugins.flatMap(({ type }) => {
    try {
      locatePlugin(type, parseBinDirs(binDirs), own.has(type));
      return [];
    } catch {
      return [type];
    }
  });
}

/** With the networks of all pods, by which other nodes' are judged. */
type OverlayFacts = NetworkFacts['overlay'] & { networks: PerFamily<string> };

function readOverlay(settings: Settings | undefined): OverlayFacts {
  if (!settings || settings.overlayBackend === 'none') return { type: 'none', networks: {} };
  try {
    const { backend, networks } = readOverlaySource(overlaySourceOf(settings), () => {});
    return { type: backend.type, networks };
  } catch (error) {
    return { type: settings.overlayBackend ?? 'host-gw', problem: (error as Error).message, networks: {} };
  }
}

function readSubnetMtu(): number | undefined {
  try {
    const mtu = /^FLANNEL_MTU=(\d+)$/m.exec(readFileSync(SUBNET_FILE, 'utf8'))?.[1];
    return mtu === undefined ? undefined : Number(mtu);
  } catch {
    return undefined;
  }
}

/** Other nodes as the overlay takes them; none when the API server does not answer. */
async function readPeers(
  settings: Settings,
  overlay: Pick<OverlayFacts, 'type' | 'networks'>,
): Promise<Pick<NetworkFacts, 'peers' | 'refused'>> {
  const nothing = { peers: undefined, refused: [] };
  try {
    const client = adminClient(settings);
    if (!client) return nothing;
    const { items } = await client.list(nodes, { signal: AbortSignal.timeout(API_TIMEOUT_MS) });
    const { type: backendType, networks } = overlay;
    const table = createPeerTable({ self: settings.nodeName, backendType, keys: annotationKeys(), networks });
    const own = items.find(({ metadata }) => metadata.name === settings.nodeName);
    if (own) table.setOwn({ podCidrs: podCidrsOf(own), uplinkSubnets: [] });
    for (const node of items) table.put(node);
    return { peers: [...table.peers.values()], refused: table.skipped() };
  } catch {
    return nothing;
  }
}
