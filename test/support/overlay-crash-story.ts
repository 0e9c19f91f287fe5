/**
 * kill -9 inside every step of what an overlay does, then a new start: nothing is left over, nothing is there twice, nothing is missing. One
 * story for every backend.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { readBgpSessions } from '../../cni/overlay/bgp/bgp.ts';
import { BGP_DIRECTORY } from '../../cni/overlay/bgp/options.ts';
import { removeOverlay } from '../../cni/overlay/remove.ts';
import type { Node } from '../../src/kube/types.ts';
import { run } from '../../src/linux/exec.ts';
import { systemClock } from '../../src/runtime/clock.ts';
import { silentLogger } from '../../src/runtime/log.ts';
import { allDone, type CrashScene, openApi, ownNodeFile, startScene, subnetFile } from './overlay-crash-scene.ts';
import { KEYS } from './overlay-nodes.ts';

/** More than there are: a story that counts no steps must not end well. */
const STEPS_LIMIT = 200;
const SETTLE_MS = 20_000;
const CHILD_LIMIT_MS = 120_000;
const POLL_MS = 50;

export interface CrashStory {
  scene: CrashScene;
  /** What ran on the node before, for the change of a backend. */
  earlier: CrashScene;
  /** Program and arguments in front of the child's own. */
  child: readonly string[];
  /** 1: before every step; 3: before every third. */
  stride: number;
}

type Work = 'start' | 'change' | 'remove';
type State = Record<string, string[]>;

/** @returns how many steps each part has. @throws an Error that says what differs, and before which step the process was killed. */
export async function tellCrashStory(story: CrashStory): Promise<Record<string, number>> {
  const { scene, earlier } = story;
  const remove = () =>
    removeOverlay(
      { subnetFile: subnetFile(scene.directory), ownOnly: false },
      { log: silentLogger, clock: systemClock, run, hostNetns: scene.host.path },
    );
  const nothing = async () => {
    await remove();
    await run('rm', ['-rf', ownNodeFile(scene.directory)]);
  };
  await nothing();
  const clean = await readState(scene);
  await settle(scene, 'before');
  await settle(scene, 'after');
  const whole = await readState(scene);

  const counts: Record<string, number> = {};
  const tell = async (
    name: string,
    work: Work,
    prepare: () => Promise<unknown>,
    then: () => Promise<unknown>,
    want: State,
  ) => {
    for (let step = 1; step < STEPS_LIMIT; step += story.stride) {
      await prepare();
      const wasKilled = await killAt(story, work, step);
      await then();
      await expectState(scene, want, `${name}: ${wasKilled ? `killed before step ${step}` : 'not killed'}`);
      counts[name] = step - 1;
      if (!wasKilled) return;
    }
    throw new Error(`${name}: still steps after ${STEPS_LIMIT}`);
  };
  const again = () => settle(scene, 'after');
  await tell('first start', 'start', nothing, again, whole);
  await tell('start after changes', 'start', () => settle(scene, 'before'), again, whole);
  await tell('changes', 'change', () => settle(scene, 'before'), again, whole);
  await tell('another backend before', 'start', () => settle(earlier, 'before'), again, whole);
  await tell('removal', 'remove', () => settle(scene, 'after'), nothing, clean);
  return counts;
}

/** A start that comes to its end. */
async function settle(scene: CrashScene, when: 'before' | 'after'): Promise<void> {
  const { client, save } = openApi(scene, when);
  const overlay = await startScene({ teardown() {} }, scene, client);
  try {
    await allDone(overlay);
  } finally {
    await overlay.stop();
    save();
  }
}

/** @returns whether it was killed; it was not when there are fewer steps. */
async function killAt({ child, scene }: CrashStory, work: Work, step: number): Promise<boolean> {
  const [program, ...args] = [...child, work, String(step), JSON.stringify(scene)];
  // One that hangs is ended in another way than by its own hand.
  const stdio = ['ignore', 'ignore', 'inherit'] as const;
  const process = spawn(program!, args, { stdio: [...stdio], timeout: CHILD_LIMIT_MS, killSignal: 'SIGTERM' });
  const [code, signal] = await once(process, 'exit');
  if (signal !== 'SIGKILL' && code !== 0) throw new Error(`${work}, step ${step}: ended with ${code ?? signal}`);
  return signal === 'SIGKILL';
}

/** What BIRD does, it does a moment later. */
async function expectState(scene: CrashScene, want: State, what: string): Promise<void> {
  const deadlineMs = systemClock.monotonicMs() + SETTLE_MS;
  for (;;) {
    const have = await readState(scene);
    if (isDeepStrictEqual(have, want)) return;
    if (systemClock.monotonicMs() < deadlineMs) {
      await systemClock.sleep(POLL_MS);
      continue;
    }
    throw new Error(`${what}:\n${describe(want, have).join('\n')}`);
  }
}

function describe(want: State, have: State): string[] {
  return [...new Set([...Object.keys(want), ...Object.keys(have)])].flatMap((part) => {
    const [wanted, had] = [want[part] ?? [], have[part] ?? []];
    return [
      ...wanted.filter((line) => !had.includes(line)).map((line) => `- ${part}: ${line}`),
      ...had.filter((line) => !wanted.includes(line)).map((line) => `+ ${part}: ${line}`),
      ...(wanted.length === had.length ? [] : [`  ${part}: ${wanted.length} lines, now ${had.length}`]),
    ];
  });
}

const LOOKS = {
  routes: 'ip -d -N -4 route; ip -d -N -6 route | grep -v fe80::',
  rules: 'ip rule; ip -6 rule',
  neighbours: 'ip neigh show nud permanent',
  forwarding: 'bridge fdb show | grep flannel',
  links: 'ip -o -d link | grep flannel',
  addresses: 'ip -o addr show scope global',
};
const RULES = {
  tables: 'nft list tables | grep flannel',
  masquerade: 'nft --stateless list table ip flannel-ipv4 2>/dev/null',
  forward: 'iptables-save | grep -i flannel; ip6tables-save | grep -i flannel',
};

/** Whose lines are in an order of their own. */
const IN_ORDER = new Set(['masquerade', 'forward']);

/** Everything that an overlay makes. What the kernel or chance chose (indexes, MACs, keys) is left out or goes by a name of its own. */
async function readState(scene: CrashScene): Promise<State> {
  const { directory, host } = scene;
  const node = existsSync(ownNodeFile(directory))
    ? (JSON.parse(readFileSync(ownNodeFile(directory), 'utf8')) as Node)
    : undefined;
  const annotations = node?.metadata.annotations ?? {};
  const own = Object.values((JSON.parse(annotations[KEYS.data[4]] ?? 'null') as Record<string, unknown>) ?? {}).filter(
    (value) => typeof value === 'string',
  );
  const program = Object.entries({ ...LOOKS, ...(scene.rules && RULES) }).map(
    ([part, look]) => `echo '@@ ${part}'; ${look}`,
  );
  const { stdout } = await run('sh', ['-c', program.join('; ')], { netns: host.path, okCodes: [0, 1] });
  const state: State = {};
  for (const section of stdout.split('@@ ').slice(1)) {
    const [part, ...lines] = section.split('\n');
    state[part!] = lines
      .map((line) =>
        line
          .replace(/^\d+: /, '')
          .replace(/\[\d+:\d+\]/, '')
          .replace(/@if\d+/, '')
          // A TUN device that nobody has open.
          .replace(/ linkdown\b/, '')
          .replace(/<([A-Z_,-]+)>/, (_, flags: string) => (flags.split(',').includes('UP') ? 'up' : 'down'))
          .replace(/ state \w+ /, ' ')
          .trimEnd(),
      )
      .filter((line) => line !== '' && !line.startsWith('#') && !/ veth0 /.test(line))
      .map((line) => own.reduce((text, one) => text.replaceAll(one, 'OWN'), line));
    if (!IN_ORDER.has(part!)) state[part!]!.sort();
  }
  state['node'] = [
    ...Object.entries(annotations),
    ['conditions', node?.status?.conditions?.map(({ type, status }) => `${type} ${status}`)],
  ]
    .map(([key, value]) => `${key} ${value}`)
    .map((line) => own.reduce((text, one) => text.replaceAll(one, 'OWN'), line))
    .toSorted();
  state['files'] = [...listFiles(directory), ...listFiles(BGP_DIRECTORY), ...listFiles('/run/flannel')].filter(
    (line) => !line.startsWith(ownNodeFile(directory)),
  );
  state['bird'] =
    (await readBgpSessions(BGP_DIRECTORY, systemClock))?.map(({ description }) => description).toSorted() ?? [];
  state['processes'] = listBirds();
  return state;
}

/** With their contents, but for what tells of time, chance or processes. */
function listFiles(directory: string): string[] {
  if (!existsSync(directory)) return [];
  return readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && !/\.(log|log\.1|pid)$/.test(entry.name))
    .map((entry) => {
      const path = join(entry.parentPath, entry.name);
      return entry.name.endsWith('key') ? path : `${path} ${readFileSync(path, 'utf8')}`;
    })
    .toSorted();
}

/** Processes of BIRD that have our control socket. */
function listBirds(): string[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((pid) => {
      try {
        const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ').trim();
        return command.includes(BGP_DIRECTORY) && command.includes('bird') ? [command.replace(/ -R$/, '')] : [];
      } catch {
        return [];
      }
    });
}
