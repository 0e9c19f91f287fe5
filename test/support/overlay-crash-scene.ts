/** A node whose overlay is killed, and the nodes of its cluster before and after: what the killed process and the ones around it have in common. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ExecutionContext } from 'ava';
import { nodes } from '../../src/kube/resources.ts';
import type { Node } from '../../src/kube/types.ts';
import type { FakeKubeClient } from '../fakes/kube-client.ts';
import { eventually } from './eventually.ts';
import {
  createOverlayApi,
  draftNode,
  KEYS,
  type RunningOverlay,
  type StartOptions,
  startOverlay,
} from './overlay-nodes.ts';

/** What is killed: plain data, for a process of its own. */
export interface CrashScene {
  host: { path: string; number: number };
  /** Holds this node's object as the API server has it, subnet.env, keys. */
  directory: string;
  /** net-conf.json's `Backend`. */
  backend: Record<string, unknown> & { Type: string };
  /** Another node's `backend-data` by its number; null: it has none. */
  data: Record<number, unknown>;
  /** The rules for pods' traffic too. */
  rules: boolean;
}

/** What other nodes say of themselves, by backend; nothing of the rest. */
const DATA: Record<string, (number: number) => unknown> = {
  vxlan: (number) => ({ VNI: 1, VtepMAC: `02:00:00:00:00:0${number}` }),
  wireguard: (number) => ({ PublicKey: Buffer.alloc(32, number).toString('base64') }),
  bgp: () => ({ ASNumber: 64_512 }),
};

export function makeScene(
  scene: Omit<CrashScene, 'backend' | 'data'>,
  type: string,
  keys: Record<string, unknown> = {},
): CrashScene {
  const data = OTHER_NUMBERS.map((number) => [number, DATA[type]?.(number) ?? null]);
  return { ...scene, backend: { Type: type, ...keys }, data: Object.fromEntries(data) };
}

const OTHER_NUMBERS = [2, 3, 4, 5, 6];

type When = 'before' | 'after';

/** One node goes, one moves, one changes its pod CIDR, one comes, one stays. */
const OTHERS: Record<When, [number, { ip?: string; podCidr?: string }][]> = {
  before: [
    [2, {}],
    [3, {}],
    [4, {}],
    [6, {}],
  ],
  after: [
    [3, { ip: '192.0.2.33' }],
    [4, { podCidr: '10.244.44.0/24' }],
    [5, {}],
    [6, {}],
  ],
};

const RESYNC_MS = 30;

export const ownNodeFile = (directory: string) => join(directory, 'node.json');
export const subnetFile = (directory: string) => join(directory, 'flannel/subnet.env');

function listOthers({ backend, data }: CrashScene, when: When): Node[] {
  return OTHERS[when].map(([number, { ip, podCidr }]) =>
    draftNode(`node${number}`, {
      podCidrs: [podCidr ?? `10.244.${number}.0/24`],
      internalIps: [ip ?? `192.0.2.${number}`],
      annotations: {
        [KEYS.managed]: 'true',
        [KEYS.type]: backend.Type,
        [KEYS.publicIp[4]]: ip ?? `192.0.2.${number}`,
        [KEYS.data[4]]: JSON.stringify(data[number] ?? null),
      },
    }),
  );
}

/** An API server with the cluster's nodes; this one's as it was left, which `save` keeps. */
export function openApi(scene: CrashScene, when: When): { client: FakeKubeClient; save(): void } {
  const { directory, host } = scene;
  const client = createOverlayApi();
  const path = ownNodeFile(directory);
  const own = existsSync(path)
    ? (JSON.parse(readFileSync(path, 'utf8')) as Node)
    : draftNode(`node${host.number}`, {
        podCidrs: [`10.244.${host.number}.0/24`],
        internalIps: [`192.0.2.${host.number}`],
      });
  for (const node of [own, ...listOthers(scene, when)]) client.seed(nodes, node);
  return {
    client,
    save: () => writeFileSync(path, JSON.stringify(client.peek(nodes, `node${host.number}`))),
  };
}

/** Nodes come, go and change, as the watch tells it. */
export async function changeNodes(scene: CrashScene, client: FakeKubeClient): Promise<void> {
  const after = listOthers(scene, 'after');
  for (const { metadata } of listOthers(scene, 'before'))
    if (!after.some((node) => node.metadata.name === metadata.name))
      await client.delete(nodes, { name: metadata.name });
  for (const node of after) {
    const { name } = node.metadata;
    if (!client.peek(nodes, name)) client.seed(nodes, node);
    else
      client.edit(nodes, name, (object) => {
        object.spec = node.spec;
        object.status = node.status!;
        object.metadata.annotations = node.metadata.annotations!;
      });
  }
}

export function startScene(
  t: Pick<ExecutionContext, 'teardown'>,
  scene: CrashScene,
  client: FakeKubeClient,
  options: StartOptions = {},
): Promise<RunningOverlay> {
  const { backend, directory, rules } = scene;
  return startOverlay(t, scene.host, client, {
    backend,
    subnetFile: subnetFile(directory),
    masquerade: rules,
    forwardRules: rules,
    resyncMs: RESYNC_MS,
    ...options,
  });
}

/** Ready, and then two whole passes more: whatever happened before is carried out. */
export async function allDone(overlay: RunningOverlay): Promise<void> {
  await eventually('ready', () => overlay.state().ready && overlay.counts.rules > 0).catch((error) => {
    throw new Error(`${error.message}: ${JSON.stringify(overlay.state())} ${JSON.stringify(overlay.complaints)}`);
  });
  const from = overlay.counts.passes;
  await eventually('two passes', () => overlay.counts.passes >= from + 2);
}
