/** Every combination of container states, held against the rules of sheet §13.1 written down once more, as sentences. */
import test from 'ava';
import { computePhase } from '../../../../agent/status/phase.ts';
import type { Container, ContainerStatus } from '../../../../src/kube/types.ts';
import { podOf } from '../pod.ts';
import { statusOf } from './cases.ts';

type Policy = 'Always' | 'OnFailure' | 'Never';
interface World {
  policy: Policy;
  regular: readonly string[];
  /** `s:` marks a sidecar. */
  init: readonly string[];
  terminal: boolean;
  isStatic: boolean;
}

const waits = (state: string) => state === 'W';
const runs = (state: string) => state === 'R' || state === 'r';
/** Ended, whether it waits to run again or not. */
const ended = (state: string) => /^[TW]\d/.test(state);
const failed = (state: string) => ended(state) && !state.endsWith('0');

function oracle({ policy, regular, init, terminal, isStatic }: World): string {
  const sidecars = init.filter((state) => state.startsWith('s:')).map((state) => state.slice(2));
  const plain = init.filter((state) => !state.startsWith('s:'));
  const counted = [...sidecars, ...regular];
  if (policy === 'Never' && plain.some(failed)) return 'Failed';
  const isInitialized = plain.every(ended) && !sidecars.some((state) => state === 'r' || waits(state));
  const hasBegun = regular.some((state) => runs(state) || ended(state));
  if (!isInitialized && !hasBegun) return 'Pending';
  if (counted.some(waits)) return 'Pending';
  if (counted.includes('-')) return 'Pending';
  if (counted.some(runs)) return 'Running';
  const succeeded = regular.every((state) => state === 'T0');
  if (terminal && !isStatic) return succeeded ? 'Succeeded' : 'Failed';
  if (policy === 'Always') return 'Running';
  if (succeeded) return 'Succeeded';
  return policy === 'Never' ? 'Failed' : 'Running';
}

const REGULAR = ['R', 'W', 'W0', 'W1', 'T0', 'T1', '-'];
const INIT = ['R', 'W', 'W0', 'W1', 'T0', 'T1', '-', 's:R', 's:r', 's:W', 's:W0', 's:W1', 's:T0', 's:T1', 's:-'];
const lists = (states: string[], least: number, most: number): string[][] =>
  Array.from({ length: most - least + 1 }, (_, at) => least + at).flatMap((length) =>
    Array.from({ length }, () => states).reduce<string[][]>(
      (all, choices) => all.flatMap((list) => choices.map((state) => [...list, state])),
      [[]],
    ),
  );

const statuses = (states: readonly string[], prefix: string): ContainerStatus[] =>
  states.flatMap((state, at) => {
    const plain = state.replace(/^s:/, '');
    return plain === '-' ? [] : [statusOf(`${prefix}${at}`, plain)];
  });

function ours({ policy, regular, init, terminal, isStatic }: World): string {
  const pod = podOf(
    {
      restartPolicy: policy,
      containers: regular.map((_, at) => ({ name: `c${at}` })),
      initContainers: init.map((state, at) => ({
        name: `i${at}`,
        ...(state.startsWith('s:') && { restartPolicy: 'Always' }),
      })) as Container[],
    },
    isStatic ? { annotations: { 'kubernetes.io/config.source': 'file' } } : {},
  );
  return computePhase(pod, statuses(regular, 'c'), statuses(init, 'i'), terminal);
}

for (const policy of ['Always', 'OnFailure', 'Never'] as const)
  for (const [terminal, isStatic] of [
    [false, false],
    [true, false],
    [true, true],
  ] as const)
    test(`phase as the rules say: ${policy}${terminal ? ', terminal' : ''}${isStatic ? ', static' : ''}`, (t) => {
      let count = 0;
      const wrong: unknown[] = [];
      for (const regular of lists(REGULAR, 1, 2))
        for (const init of lists(INIT, 0, 2)) {
          const world = { policy, regular, init, terminal, isStatic };
          count++;
          const [is, should] = [ours(world), oracle(world)];
          if (is !== should && wrong.length < 5) wrong.push({ ...world, is, should });
        }
      t.deepEqual(wrong, []);
      t.is(count, 56 * 241);
    });
