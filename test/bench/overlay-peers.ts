/**
 * What a cluster of many nodes costs an overlay: one joins → its way is in the kernel; everything compared with the kernel anew; memory.
 *
 *     .toolchain/bin/node --expose-gc test/bench/overlay-peers.ts [peers]
 *
 * The nodes are those of a fake API server, as large as real ones are; the kernel is real, in a host of its own.
 */
import { annotationKeys, slimNode } from '../../cni/overlay/annotations.ts';
import type { OverlayBackend } from '../../cni/overlay/backend.ts';
import { readBackendFields } from '../../cni/overlay/backend-fields.ts';
import { BACKENDS } from '../../cni/overlay/backends.ts';
import { netConfOf } from '../../cni/overlay/net-conf.ts';
import { createOverlay } from '../../cni/overlay/overlay.ts';
import { createTraffic } from '../../cni/overlay/traffic.ts';
import { createInformer } from '../../src/kube/informer.ts';
import { nodes } from '../../src/kube/resources.ts';
import { run } from '../../src/linux/exec.ts';
import { systemClock } from '../../src/runtime/clock.ts';
import { silentLogger } from '../../src/runtime/log.ts';
import { eventually } from '../support/eventually.ts';
import { createOverlaySwitch, type OverlayHost } from '../support/overlay-hosts.ts';
import { createOverlayApi, draftNode } from '../support/overlay-nodes.ts';
import { continueInside, line, say, withHost } from './support.ts';

const DEFAULT_PEERS = 200;
const JOINS = 40;
const RESYNCS = 20;
const KEYS = annotationKeys();

const teardowns: (() => unknown)[] = [];
const scope = { teardown: (fn: () => unknown) => void teardowns.unshift(fn) };

/** With images and conditions by the kilobyte, as a kubelet reports them. */
function peerNode(index: number, backendType: string) {
  const mac = `02:00:00:00:${(index >> 8).toString(16).padStart(2, '0')}:${(index & 255).toString(16).padStart(2, '0')}`;
  const annotations = {
    [KEYS.managed]: 'true',
    [KEYS.type]: backendType,
    [KEYS.publicIp[4]]: `192.0.${4 + (index >> 8)}.${index & 255}`,
    [KEYS.data[4]]: backendType === 'vxlan' ? JSON.stringify({ VNI: 1, VtepMAC: mac }) : 'null',
  };
  const node = draftNode(`peer-${index}`, { podCidrs: [`10.${16 + (index >> 8)}.${index & 255}.0/24`], annotations });
  const images = Array.from({ length: 50 }, (_, image) => ({
    names: [
      `registry.example/team/image-${image}@sha256:${'0'.repeat(64)}`,
      `registry.example/team/image-${image}:1.${image}`,
    ],
    sizeBytes: 1e8 + image,
  }));
  return { ...node, status: { ...node.status, images } };
}

function rssMib(): number {
  globalThis.gc?.();
  return process.memoryUsage().rss / 2 ** 20;
}

async function measure(host: OverlayHost, type: string, peers: number): Promise<void> {
  const client = createOverlayApi();
  client.seed(nodes, draftNode('node1', { podCidrs: ['10.15.1.0/24'], internalIps: [host.address] }));
  for (let index = 1; index <= peers; index++) client.seed(nodes, peerNode(index, type));
  const beforeMib = rssMib();
  const deps = { log: silentLogger, clock: systemClock, run, hostNetns: host.path };
  const conf = netConfOf('10.0.0.0/8', type, `--backend ${type}`);
  const inner = await BACKENDS.get(type)!.open(readBackendFields({}, conf.where), deps);
  let programmed: ((peer: ReadonlySet<string> | undefined) => void) | undefined;
  let known: Parameters<OverlayBackend['sync']>[0] = new Map();
  const backend: OverlayBackend = {
    ...inner,
    async sync(all, changed) {
      known = all;
      const outcome = await inner.sync(all, changed);
      if (outcome.skipped.length > 0) throw new Error(JSON.stringify(outcome.skipped.slice(0, 3)));
      programmed?.(changed);
      return outcome;
    },
  };
  const informer = createInformer({
    client,
    resource: nodes,
    transform: slimNode,
    log: silentLogger,
    clock: systemClock,
  });
  const uplink = { ifaces: ['eth0'], ifaceRegexes: [], publicIps: {}, nodeIps: [], preferNodeIps: false };
  const traffic = createTraffic({ masquerade: false, forward: false, hostNetns: host.path }, { run });
  const overlay = createOverlay(
    {
      nodeName: 'node1',
      conf,
      keys: KEYS,
      uplink,
      ipMasq: false,
      blackholeRoute: false,
      setNetworkUnavailable: true,
      takeOver: true,
      // Measured by themselves.
      resyncMs: 3_600_000,
      hostNetns: host.path,
    },
    { ...deps, backend, nodes: informer, client, traffic },
  );
  const controller = new AbortController();
  const beganMs = performance.now();
  const running = Promise.all([informer.run(controller.signal), overlay.run(controller.signal)]);
  await eventually('all peers are there', () => overlay.state().ready && overlay.state().peers === peers);
  say(`${type.padEnd(10)} ${peers} peers from nothing: ${(performance.now() - beganMs).toFixed(0)} ms`);
  const afterMib = rssMib();
  say(
    `${type.padEnd(10)} memory: ${(afterMib - beforeMib).toFixed(1)} MiB of RSS more than before it ran (${afterMib.toFixed(0)} in all)`,
  );

  const joins: number[] = [];
  for (let count = 0; count < JOINS; count++) {
    const index = peers + 1 + count;
    const name = `peer-${index}`;
    const done = new Promise<void>((resolve) => {
      programmed = (changed) => {
        if (changed?.has(name)) resolve();
      };
    });
    const joinedMs = performance.now();
    client.seed(nodes, peerNode(index, type));
    await done;
    joins.push(performance.now() - joinedMs);
    await client.delete(nodes, { name });
    await eventually('it is gone again', () => overlay.state().peers === peers);
    await systemClock.sleep(20);
  }
  programmed = undefined;
  say(line(`${type}: one joins → programmed (aim ≤ 20)`, joins));

  const resyncs: number[] = [];
  for (let count = 0; count < RESYNCS; count++) {
    const startedMs = performance.now();
    await inner.sync(known);
    resyncs.push(performance.now() - startedMs);
  }
  say(line(`${type}: full resync, all in order (aim ≤ 200)`, resyncs));
  const routes = (await host.ip('-N', 'route', 'show', 'proto', '191')).trim().split('\n');
  if (routes.length !== peers) throw new Error(`${routes.length} routes for ${peers} peers`);
  await host.ip('route', 'flush', 'proto', '191');
  const startedMs = performance.now();
  const { changed } = await inner.sync(known);
  say(
    `${type.padEnd(10)} all routes gone: ${changed} entries mended in ${(performance.now() - startedMs).toFixed(0)} ms`,
  );
  controller.abort();
  await running;
}

if (process.argv[2] === 'inside') {
  const peers = Number(process.argv[3] ?? DEFAULT_PEERS);
  const net = await createOverlaySwitch(scope);
  try {
    for (const [number, type] of ['host-gw', 'vxlan'].entries()) {
      const host = await net.addHost(number + 1);
      // Room for as many nodes as 192.0.0.0/16 has.
      await host.ip('addr', 'flush', 'dev', 'eth0');
      await host.ip('addr', 'add', `${host.address}/16`, 'dev', 'eth0');
      await measure(host, type, peers);
    }
  } finally {
    for (const teardown of teardowns) await teardown();
  }
  // Sockets of the native package outlive what is closed.
  process.exit(0);
} else
  await withHost('bench-overlay-peers', (host) => continueInside(host, import.meta.filename, ...process.argv.slice(2)));
