/** Nodes of a fake API server whose overlays run in namespaced hosts. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ExecutionContext } from 'ava';
import { annotationKeys, slimNode } from '../../cni/overlay/annotations.ts';
import type { OverlayBackend } from '../../cni/overlay/backend.ts';
import { readBackendFields } from '../../cni/overlay/backend-fields.ts';
import { BACKENDS } from '../../cni/overlay/backends.ts';
import { parseNetConf } from '../../cni/overlay/net-conf.ts';
import { createOverlay, type Overlay, type OverlayOptions } from '../../cni/overlay/overlay.ts';
import { createTraffic } from '../../cni/overlay/traffic.ts';
import { createInformer } from '../../src/kube/informer.ts';
import { nodes } from '../../src/kube/resources.ts';
import type { Node } from '../../src/kube/types.ts';
import { run } from '../../src/linux/exec.ts';
import { systemClock } from '../../src/runtime/clock.ts';
import type { Logger } from '../../src/runtime/log.ts';
import { silentLogger } from '../../src/runtime/log.ts';
import { createFakeKubeClient, type FakeKubeClient } from '../fakes/kube-client.ts';
import type { OverlayHost } from './overlay-hosts.ts';

export const KEYS = annotationKeys();

export interface NodeFacts {
  podCidrs?: string[];
  internalIps?: string[];
  annotations?: Record<string, string>;
  creationTimestamp?: string;
}

/** A Node as an API server would have it. */
export function draftNode(name: string, facts: NodeFacts): Node {
  const { podCidrs = [], internalIps = [], annotations, creationTimestamp = '2026-01-01T00:00:00Z' } = facts;
  return {
    metadata: { name, uid: name, resourceVersion: '1', creationTimestamp, ...(annotations && { annotations }) },
    spec: { ...(podCidrs.length > 0 && { podCIDR: podCidrs[0], podCIDRs: podCidrs }) },
    status: { addresses: internalIps.map((address) => ({ type: 'InternalIP', address })) },
  } as Node;
}

export interface RunningOverlay extends Pick<Overlay, 'state' | 'mtu'> {
  subnetFile: string;
  /** What is logged as a warning or an error. */
  complaints: Record<string, unknown>[];
  /** How many passes have begun, and how often the rules were brought in order. */
  counts: { passes: number; rules: number };
  /** Ends it as a signal does: what it made stays. */
  stop(): Promise<void>;
}

export interface StartOptions extends Partial<Omit<OverlayOptions, 'conf' | 'keys' | 'nodeName'>> {
  /** net-conf.json's `Backend`. */
  backend?: Record<string, unknown>;
  /** In place of the one that `backend` names. */
  ownBackend?: OverlayBackend;
  networks?: { 4?: string; 6?: string };
  masquerade?: boolean;
  forwardRules?: boolean;
  nodeName?: string;
  log?: Logger;
}

/** The pods' networks of `createOverlaySwitch`. */
const NETWORKS = { 4: '10.244.0.0/16', 6: 'fd00:244::/32' };

export function createOverlayApi(): FakeKubeClient {
  return createFakeKubeClient(systemClock);
}

/** Runs an overlay of a host until the test, or `stop`, ends it. */
export async function startOverlay(
  t: Pick<ExecutionContext, 'teardown'>,
  host: Pick<OverlayHost, 'path' | 'number'>,
  client: FakeKubeClient,
  options: StartOptions = {},
): Promise<RunningOverlay> {
  const {
    backend: raw = { Type: 'host-gw' },
    networks = { 4: NETWORKS[4] },
    masquerade,
    forwardRules,
    ownBackend,
    ...rest
  } = options;
  const text = JSON.stringify({
    EnableIPv4: networks[4] !== undefined,
    EnableIPv6: networks[6] !== undefined,
    Network: networks[4],
    IPv6Network: networks[6],
    Backend: raw,
  });
  const { conf } = parseNetConf(text, 'net-conf.json');
  const complaints: Record<string, unknown>[] = [];
  const log = options.log ?? recordingLogger(complaints);
  const deps = { log, clock: systemClock, run, hostNetns: host.path };
  const fields = readBackendFields(conf.backend.raw, conf.where);
  const backend = ownBackend ?? (await BACKENDS.get(conf.backend.type)!.open(fields, deps));
  const informer = createInformer({
    client,
    resource: nodes,
    transform: slimNode,
    log: silentLogger,
    clock: systemClock,
  });
  const subnetFile = options.subnetFile ?? join(makeDirectory(t), 'subnet.env');
  const counts = { passes: 0, rules: 0 };
  const traffic = createTraffic(
    { masquerade: masquerade ?? false, forward: forwardRules ?? false, hostNetns: host.path },
    deps,
  );
  const overlay = createOverlay(
    {
      nodeName: `node${host.number}`,
      conf,
      keys: KEYS,
      uplink: { ifaces: ['eth0'], ifaceRegexes: [], publicIps: {}, nodeIps: [], preferNodeIps: false },
      subnetFile,
      ipMasq: false,
      blackholeRoute: false,
      setNetworkUnavailable: true,
      takeOver: true,
      resyncMs: 300,
      rulesResyncMs: 300,
      hostNetns: host.path,
      ...rest,
    },
    {
      ...deps,
      backend,
      nodes: informer,
      client,
      traffic: {
        ...traffic,
        ensure: (...args) => traffic.ensure(...args).finally(() => counts.rules++),
      },
      heartbeat: () => counts.passes++,
    },
  );
  const controller = new AbortController();
  const running = Promise.all([informer.run(controller.signal), overlay.run(controller.signal)]);
  const stop = async () => {
    controller.abort();
    await running;
  };
  t.teardown(stop);
  return { state: overlay.state, mtu: overlay.mtu, subnetFile, complaints, counts, stop };
}

function makeDirectory(t: Pick<ExecutionContext, 'teardown'>): string {
  const directory = mkdtempSync(join(tmpdir(), 'overlay-'));
  t.teardown(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

function recordingLogger(lines: Record<string, unknown>[]): Logger {
  const record = (fields: Record<string, unknown>, message: string) => void lines.push({ ...fields, message });
  return {
    ...silentLogger,
    child: () => recordingLogger(lines),
    warn: record,
    error: record,
    info() {},
    debug() {},
  } as unknown as Logger;
}
