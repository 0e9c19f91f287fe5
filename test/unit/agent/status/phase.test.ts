import test from 'ava';
import { computePhase } from '../../../../agent/status/phase.ts';
import type { Container } from '../../../../src/kube/types.ts';
import { podOf } from '../pod.ts';
import { statusOf } from './cases.ts';

type Case = {
  /** Regular containers' states, space separated; `-`: no status. */
  regular: string;
  /** Init containers' states; a leading `s:` marks a sidecar. */
  init?: string;
  policy?: 'Always' | 'OnFailure' | 'Never';
  terminal?: boolean;
  isStatic?: boolean;
  container?: Partial<Container>;
  phase: string;
};

const cases: Case[] = [
  // Regular containers alone.
  { regular: 'W', phase: 'Pending' },
  { regular: '-', phase: 'Pending' },
  { regular: 'R', phase: 'Running' },
  { regular: 'R R', phase: 'Running' },
  { regular: 'R W', phase: 'Pending' },
  { regular: 'R W1', phase: 'Running' },
  { regular: 'R -', phase: 'Pending' },
  { regular: 'R T0', phase: 'Running', policy: 'Never' },
  { regular: 'W1', phase: 'Running' },
  { regular: 'W0', phase: 'Running' },
  { regular: 'T0', phase: 'Running', policy: 'Always' },
  { regular: 'T1', phase: 'Running', policy: 'Always' },
  { regular: 'T0', phase: 'Succeeded', policy: 'OnFailure' },
  { regular: 'T1', phase: 'Running', policy: 'OnFailure' },
  { regular: 'T0 T1', phase: 'Running', policy: 'OnFailure' },
  { regular: 'W1', phase: 'Running', policy: 'OnFailure' },
  { regular: 'T0', phase: 'Succeeded', policy: 'Never' },
  { regular: 'T1', phase: 'Failed', policy: 'Never' },
  { regular: 'T0 T0', phase: 'Succeeded', policy: 'Never' },
  { regular: 'T0 T3', phase: 'Failed', policy: 'Never' },
  { regular: 'T0 -', phase: 'Pending', policy: 'Never' },
  // The worker is done with it.
  { regular: 'T0', terminal: true, phase: 'Succeeded' },
  { regular: 'T0 T137', terminal: true, phase: 'Failed' },
  { regular: 'R T0', terminal: true, phase: 'Running' },
  { regular: 'T0', terminal: true, isStatic: true, phase: 'Running' },
  // Plain init containers.
  { regular: 'W', init: 'R', phase: 'Pending' },
  { regular: 'W', init: 'W', phase: 'Pending' },
  { regular: 'W', init: '-', phase: 'Pending' },
  { regular: 'W', init: 'T0 R', phase: 'Pending' },
  { regular: 'W', init: 'T1', policy: 'Always', phase: 'Pending' },
  { regular: 'W', init: 'T1', policy: 'OnFailure', phase: 'Pending' },
  { regular: 'W', init: 'T1', policy: 'Never', phase: 'Failed' },
  { regular: 'W', init: 'W1', policy: 'Never', phase: 'Failed' },
  { regular: 'W', init: 'T0 T1', policy: 'Never', phase: 'Failed' },
  { regular: 'R', init: 'T0', phase: 'Running' },
  { regular: 'T0', init: 'T0', policy: 'Never', phase: 'Succeeded' },
  { regular: 'W1', init: 'R', phase: 'Running' },
  // Sidecars.
  { regular: 'W', init: 's:r', phase: 'Pending' },
  { regular: 'W', init: 's:R', phase: 'Pending' },
  { regular: 'R', init: 's:R', phase: 'Running' },
  { regular: 'R', init: 's:r', phase: 'Running' },
  { regular: 'R', init: 's:T1', phase: 'Running' },
  { regular: 'R', init: 's:W1', phase: 'Running' },
  { regular: 'R', init: 's:W', phase: 'Pending' },
  { regular: 'R', init: 's:-', phase: 'Pending' },
  { regular: 'T0', init: 's:R', policy: 'Never', phase: 'Running' },
  { regular: 'T0', init: 's:T0', policy: 'Never', phase: 'Succeeded' },
  { regular: 'T0', init: 's:T143', policy: 'Never', phase: 'Succeeded' },
  // Policies and rules of one container.
  { regular: 'T1', policy: 'Never', container: { restartPolicy: 'OnFailure' }, phase: 'Running' },
  { regular: 'T1', policy: 'Always', container: { restartPolicy: 'Never' }, phase: 'Failed' },
  {
    regular: 'T42',
    policy: 'Never',
    container: {
      restartPolicy: 'Never',
      restartPolicyRules: [{ action: 'Restart', exitCodes: { operator: 'In', values: [42] } }],
    },
    phase: 'Running',
  },
];

for (const [index, one] of cases.entries())
  test(`phase ${index}: ${JSON.stringify(one)}`, (t) => {
    const regularStates = one.regular.split(' ');
    const initStates = (one.init ?? '').split(' ').filter(Boolean);
    const pod = podOf(
      {
        restartPolicy: one.policy ?? 'Always',
        containers: regularStates.map((_, i) => ({ name: `c${i}`, ...one.container })),
        initContainers: initStates.map((state, i) => ({
          name: `i${i}`,
          ...(state.startsWith('s:') && { restartPolicy: 'Always' }),
        })) as Container[],
      },
      one.isStatic ? { annotations: { 'kubernetes.io/config.source': 'file' } } : {},
    );
    const statuses = (states: string[], prefix: string) =>
      states.flatMap((state, i) => {
        const plain = state.replace(/^s:/, '');
        return plain === '-' ? [] : [statusOf(`${prefix}${i}`, plain)];
      });
    t.is(
      computePhase(pod, statuses(regularStates, 'c'), statuses(initStates, 'i'), one.terminal ?? false),
      one.phase as never,
    );
  });
