/**
 * The bgp backend: nodes tell each other their pods' networks by BGP, as Calico's do. The speaker is BIRD 2, driven by a configuration
 * that is rendered from the Node objects; it writes the routes. Nothing is encapsulated, and unlike with host-gw routers may stand
 * between the nodes, if they take part (Backend.Peers) or reflect.
 *
 * A node that comes or goes: one small file, one `configure` (BIRD reads all files again: some µs a node). Sessions of nodes that did
 * not change stay. BIRD outlives this process, and its routes outlive it: graceful restart at both ends, `persist` in between.
 */
import { join } from 'node:path';
import type { run } from '../../../src/linux/exec.ts';
import { createBackoff } from '../../../src/runtime/backoff.ts';
import type { Clock } from '../../../src/runtime/clock.ts';
import { ExplainedError } from '../../../src/runtime/explained-error.ts';
import type { Logger } from '../../../src/runtime/log.ts';
import { Gauge, type Registry } from '../../../src/runtime/metrics.ts';
import { createSerial } from '../../../src/runtime/serial.ts';
import type { OverlayBackend, Peer, SelfNode, SyncOutcome } from '../backend.ts';
import {
  CONTROL_SOCKET,
  MAIN_FILE,
  NETWORKS_FILE,
  nodeFile,
  renderMain,
  renderNetworks,
  renderSession,
} from './bird-config.ts';
import { createBirdDaemon } from './bird-daemon.ts';
import { findForeignAddress, findForeignRoutes, listBirdRoutes, removeBirdRoutes } from './bird-routes.ts';
import { parseSessions, type SessionStatus } from './bird-status.ts';
import { openConfigFiles, removeConfigFiles } from './config-files.ts';
import { type BirdControl, openBirdControl } from './control-socket.ts';
import { type BgpOptions, readPassword } from './options.ts';
import {
  buildBgpData,
  computeNodeSessions,
  computeRouterSessions,
  FAMILIES,
  isReflector,
  listPodNetworks,
} from './sessions.ts';

export interface BgpDeps {
  log: Logger;
  clock: Clock;
  run: typeof run;
  hostNetns?: string;
  registry?: Registry;
}

const LOOK_MS = 5_000;
const RESTART_BACKOFF = { initialMs: 500, maxMs: 30_000 };
/** A BIRD that lives so long has started well. */
const STEADY_MS = 60_000;

export function createBgp(options: BgpOptions, deps: BgpDeps): OverlayBackend {
  const { log, clock } = deps;
  const { directory } = options;
  const sessionsGauge =
    deps.registry &&
    new Gauge({
      name: 'berth_overlay_bgp_sessions',
      help: 'BGP sessions of this node by state: established, or not (down).',
      labelNames: ['state'],
      registers: [deps.registry],
    });
  const daemon = createBirdDaemon({ program: options.birdProgram, directory }, deps);
  /** Configuration and process are changed by one at a time: `sync` and the restart of a BIRD that died. */
  const serial = createSerial();
  let self: SelfNode | undefined;
  let control: BirdControl | undefined;
  let files: ReturnType<typeof openConfigFiles> | undefined;
  /** Files by node: what its going takes away. */
  let filesOf = new Map<string, string[]>();
  let skipped = new Map<string, string>();
  let hasReflectors = false;
  let isClosed = false;
  /** Resolved when a BIRD was found or started: who watches it waits for that. */
  const started = Promise.withResolvers<void>();

  function sync(peers: ReadonlyMap<string, Peer>, changed?: ReadonlySet<string>): Promise<SyncOutcome> {
    return serial(async () => {
      if (!self) throw new Error('bgp: sync before ensure');
      files ??= openConfigFiles(directory);
      const reflect = [...peers.values()].some(isReflector) || options.routeReflectorClusterId !== undefined;
      // The first pass knows nothing of what is there; a first or last reflector changes everybody's sessions.
      const isFull = changed === undefined || control === undefined || reflect !== hasReflectors;
      const wanted = new Map<string, string | undefined>();
      const nextFiles = isFull ? new Map<string, string[]>() : new Map(filesOf);
      const nextSkipped = isFull ? new Map<string, string>() : new Map(skipped);
      if (isFull) {
        for (const name of files.listPeers()) wanted.set(name, undefined);
        const password = options.passwordFile === undefined ? undefined : readPassword(options.passwordFile);
        wanted.set(MAIN_FILE, renderMain(self, options, password));
        for (const session of computeRouterSessions(self, options))
          wanted.set(nodeFile(session), renderSession(session, options));
      }
      const taken = isFull ? new Map<string, string>() : takenAddresses(peers, changed);
      for (const node of isFull ? peers.keys() : changed) {
        for (const name of nextFiles.get(node) ?? []) wanted.set(name, undefined);
        nextFiles.delete(node);
        nextSkipped.delete(node);
        const peer = peers.get(node);
        if (!peer) continue;
        const sessions = computeNodeSessions(self, peer, options, { hasReflectors: reflect });
        const reason = 'reason' in sessions ? sessions.reason : clashOf(sessions, taken, node);
        if (reason !== undefined) {
          nextSkipped.set(node, reason);
          continue;
        }
        if ('reason' in sessions) continue;
        for (const session of sessions) {
          taken.set(session.neighbour, node);
          wanted.set(nodeFile(session), renderSession(session, options));
        }
        nextFiles.set(node, sessions.map(nodeFile));
      }
      wanted.set(NETWORKS_FILE, renderNetworks(readNetworks(self, peers)));
      const written = files.write(wanted);
      try {
        await apply(written !== undefined);
      } catch (error) {
        written?.undo();
        throw error;
      }
      [filesOf, skipped, hasReflectors] = [nextFiles, nextSkipped, reflect];
      if (written) log.info({ files: written.changed, nodes: filesOf.size }, 'bgp: bird has a new configuration');
      const foreign = isFull ? await findForeignRoutes(peers, deps.hostNetns) : [];
      return {
        changed: written?.changed ?? 0,
        skipped: [...[...skipped].map(([node, reason]) => ({ node, reason })), ...foreign],
      };
    });
  }

  /** Lets BIRD use what is written: the running one after it has read it without objection, else one that is started. */
  async function apply(isChanged: boolean): Promise<void> {
    if (!control) {
      control = await daemon.find();
      if (!control) {
        await start();
        return;
      }
      log.info({ bird: control.greeting }, 'bgp: went on with the bird that runs');
      watch(control);
    } else if (!isChanged) return;
    // Before the change: BIRD goes on with the old configuration when the new one is bad.
    await control.ask('configure check');
    await control.ask('configure');
  }

  async function start(): Promise<void> {
    const recovers = (await listBirdRoutes(deps.hostNetns)).length > 0;
    control = await daemon.start({ recovers });
    log.info({ bird: control.greeting, recovers }, 'bgp: bird started');
    watch(control);
  }

  function watch(watched: BirdControl): void {
    started.resolve();
    watched.closed.then(() => {
      if (control === watched) control = undefined;
    });
  }

  /** One that died is started again; who speaks with whom is told when it changes. */
  async function run(signal: AbortSignal): Promise<void> {
    const backoff = createBackoff(RESTART_BACKOFF);
    const ended = new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
    let states = new Map<string, boolean>();
    await Promise.race([started.promise, ended]);
    let steadySinceMs = clock.monotonicMs();
    while (!signal.aborted) {
      const watched = control;
      if (!watched) {
        if (clock.monotonicMs() - steadySinceMs > STEADY_MS) backoff.reset();
        log.warn('bgp: bird has ended; starting it again');
        await serial(async () => {
          if (!control && !isClosed) await start();
        }).catch((error) => log.error({ err: error }, 'bgp: bird could not be started again; trying again'));
        steadySinceMs = clock.monotonicMs();
        await clock.sleep(backoff.nextMs(), signal).catch(() => {});
        continue;
      }
      states = await reportSessions(watched, states).catch(() => states);
      await Promise.race([watched.closed, clock.sleep(LOOK_MS, signal).catch(() => {})]);
    }
  }

  async function reportSessions(from: BirdControl, before: Map<string, boolean>): Promise<Map<string, boolean>> {
    const sessions = parseSessions(await from.ask('show protocols all'));
    const up = sessions.filter(({ isEstablished }) => isEstablished).length;
    sessionsGauge?.set({ state: 'established' }, up);
    sessionsGauge?.set({ state: 'down' }, sessions.length - up);
    for (const { description, isEstablished, info } of sessions) {
      const was = before.get(description) ?? false;
      if (was === isEstablished) continue;
      if (isEstablished) log.info({ peer: description }, 'bgp: session established');
      else log.warn({ peer: description, state: info }, 'bgp: session lost; its routes stay for the time of a restart');
    }
    return new Map(sessions.map(({ description, isEstablished }) => [description, isEstablished]));
  }

  return {
    type: 'bgp',

    async ensure(node) {
      const version = await daemon.version();
      const foreign = await findForeignAddress(Object.values(node.publicIps), deps.hostNetns);
      if (foreign !== undefined)
        throw new ExplainedError(
          `overlay bgp: the public address ${foreign} is none of this node's: BGP sessions do not pass a NAT; leave --public-ip out, or use the backend vxlan`,
        );
      if (!self) log.info({ version, directory }, 'bgp: bird is there');
      self = node;
      const data = buildBgpData(options);
      return {
        mtu: node.uplink.mtu,
        data: Object.fromEntries(FAMILIES.filter((family) => node.publicIps[family]).map((family) => [family, data])),
      };
    },

    sync,
    run,

    remove: () =>
      serial(async () => {
        control?.close();
        control = undefined;
        await daemon.stop();
        await removeBirdRoutes(deps.hostNetns);
        files = undefined;
        filesOf = new Map();
        removeConfigFiles(directory);
      }),

    close() {
      isClosed = true;
      control?.close();
      control = undefined;
    },
  };
}

/** Sessions of the node's BIRD, for the doctor and the metrics; undefined when none runs. */
export async function readBgpSessions(directory: string, clock: Clock): Promise<SessionStatus[] | undefined> {
  let control: BirdControl;
  try {
    control = await openBirdControl(join(directory, CONTROL_SOCKET), clock);
  } catch {
    return undefined;
  }
  try {
    return parseSessions(await control.ask('show protocols all'));
  } finally {
    control.close();
  }
}

function readNetworks(self: SelfNode, peers: ReadonlyMap<string, Peer>) {
  return { 4: listPodNetworks(self, peers.values(), 4), 6: listPodNetworks(self, peers.values(), 6) };
}

/** Who has which address, of the nodes that did not change. */
function takenAddresses(peers: ReadonlyMap<string, Peer>, changed: ReadonlySet<string>): Map<string, string> {
  const taken = new Map<string, string>();
  for (const { node, publicIps } of peers.values())
    if (!changed.has(node)) for (const address of Object.values(publicIps)) taken.set(address, node);
  return taken;
}

function clashOf(sessions: readonly { neighbour: string }[], taken: ReadonlyMap<string, string>, node: string) {
  const clash = sessions.find(({ neighbour }) => (taken.get(neighbour) ?? node) !== node);
  return clash && `its address ${clash.neighbour} is also that of node ${taken.get(clash.neighbour)}`;
}
