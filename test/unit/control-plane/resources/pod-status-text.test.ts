import test from 'ava';
import { summarizePod } from '../../../../control-plane/resources/pods/status-text.ts';
import type { ContainerState, ContainerStatus, Pod, PodStatus } from '../../../../src/kube/types.ts';
import { meta, NOW_MS } from '../../../support/strategy-context.ts';

const container = (state: ContainerState, rest: Partial<ContainerStatus> = {}): ContainerStatus => ({
  name: 'c',
  image: 'i',
  imageID: '',
  ready: false,
  restartCount: 0,
  state,
  ...rest,
});
const running = (rest: Partial<ContainerStatus> = {}) =>
  container({ running: { startedAt: '2026-01-02T03:00:00Z' } }, { ready: true, started: true, ...rest });

interface Case {
  what: string;
  status: PodStatus;
  init?: ('plain' | 'sidecar')[];
  containers?: number;
  deleting?: boolean;
  expected: [ready: string, status: string, restarts: string];
}

const cases: Case[] = [
  { what: 'new', status: { phase: 'Pending' }, expected: ['0/1', 'Pending', '0'] },
  {
    what: 'gated',
    status: { phase: 'Pending', conditions: [{ type: 'PodScheduled', status: 'False', reason: 'SchedulingGated' }] },
    expected: ['0/1', 'SchedulingGated', '0'],
  },
  {
    what: 'being created',
    status: { phase: 'Pending', containerStatuses: [container({ waiting: { reason: 'ContainerCreating' } })] },
    expected: ['0/1', 'ContainerCreating', '0'],
  },
  {
    what: 'running',
    status: { phase: 'Running', containerStatuses: [running()] },
    expected: ['1/1', 'Running', '0'],
  },
  {
    what: 'crashing',
    status: {
      phase: 'Running',
      containerStatuses: [
        container(
          { waiting: { reason: 'CrashLoopBackOff' } },
          {
            restartCount: 3,
            lastState: { terminated: { exitCode: 1, finishedAt: '2026-01-02T02:59:05Z' } as never },
          },
        ),
      ],
    },
    expected: ['0/1', 'CrashLoopBackOff', '3 (5m ago)'],
  },
  {
    what: 'failed without a reason',
    status: {
      phase: 'Failed',
      containerStatuses: [container({ terminated: { exitCode: 3 } })],
    },
    expected: ['0/1', 'ExitCode:3', '0'],
  },
  {
    what: 'killed by a signal',
    status: { phase: 'Failed', containerStatuses: [container({ terminated: { exitCode: 137, signal: 9 } })] },
    expected: ['0/1', 'Signal:9', '0'],
  },
  {
    what: 'evicted',
    status: { phase: 'Failed', reason: 'Evicted' },
    expected: ['0/1', 'Evicted', '0'],
  },
  {
    what: 'completed',
    status: {
      phase: 'Succeeded',
      containerStatuses: [container({ terminated: { exitCode: 0, reason: 'Completed' } })],
    },
    expected: ['0/1', 'Completed', '0'],
  },
  {
    what: 'one container completed, the other running, pod ready',
    containers: 2,
    status: {
      phase: 'Running',
      conditions: [{ type: 'Ready', status: 'True' }],
      containerStatuses: [container({ terminated: { exitCode: 0, reason: 'Completed' } }), running({ name: 'd' })],
    },
    expected: ['1/2', 'Running', '0'],
  },
  {
    what: 'one container completed, the other running, pod not ready',
    containers: 2,
    status: {
      phase: 'Running',
      containerStatuses: [container({ terminated: { exitCode: 0, reason: 'Completed' } }), running({ name: 'd' })],
    },
    expected: ['1/2', 'NotReady', '0'],
  },
  {
    what: 'initializing',
    init: ['plain', 'plain'],
    status: {
      phase: 'Pending',
      initContainerStatuses: [
        container({ terminated: { exitCode: 0 } }, { name: 'i0' }),
        container({ waiting: { reason: 'PodInitializing' } }, { name: 'i1' }),
      ],
    },
    expected: ['0/1', 'Init:1/2', '0'],
  },
  {
    what: 'init container failing',
    init: ['plain'],
    status: {
      phase: 'Pending',
      initContainerStatuses: [
        container(
          { waiting: { reason: 'CrashLoopBackOff' } },
          {
            name: 'i0',
            restartCount: 2,
            lastState: { terminated: { exitCode: 1, finishedAt: '2026-01-02T03:03:05Z' } as never },
          },
        ),
      ],
    },
    expected: ['0/1', 'Init:CrashLoopBackOff', '2 (60s ago)'],
  },
  {
    what: 'init container failed',
    init: ['plain'],
    status: { phase: 'Pending', initContainerStatuses: [container({ terminated: { exitCode: 2 } }, { name: 'i0' })] },
    expected: ['0/1', 'Init:ExitCode:2', '0'],
  },
  {
    what: 'init container failed with a reason',
    init: ['plain'],
    status: {
      phase: 'Pending',
      initContainerStatuses: [container({ terminated: { exitCode: 2, reason: 'Error' } }, { name: 'i0' })],
    },
    expected: ['0/1', 'Init:Error', '0'],
  },
  {
    what: 'running with a sidecar',
    init: ['plain', 'sidecar'],
    status: {
      phase: 'Running',
      initContainerStatuses: [
        container({ terminated: { exitCode: 0 } }, { name: 'i0', restartCount: 4 }),
        running({ name: 'i1' }),
      ],
      containerStatuses: [running()],
    },
    expected: ['2/2', 'Running', '0'],
  },
  {
    what: 'deleted',
    deleting: true,
    status: { phase: 'Running', containerStatuses: [running()] },
    expected: ['1/1', 'Terminating', '0'],
  },
  {
    what: 'deleted but over',
    deleting: true,
    status: {
      phase: 'Succeeded',
      containerStatuses: [container({ terminated: { exitCode: 0, reason: 'Completed' } })],
    },
    expected: ['0/1', 'Completed', '0'],
  },
  {
    what: 'deleted on a lost node',
    deleting: true,
    status: { phase: 'Running', reason: 'NodeLost', containerStatuses: [running()] },
    expected: ['1/1', 'Unknown', '0'],
  },
];

for (const { what, status, init = [], containers = 1, deleting, expected } of cases)
  test(`a pod that is ${what}`, (t) => {
    const pod: Pod = {
      metadata: meta('p', deleting ? { deletionTimestamp: '2026-01-02T03:04:00Z' } : {}),
      spec: {
        containers: Array.from({ length: containers }, (_, index) => ({ name: `c${index}` })),
        initContainers: init.map((sort, index) => ({
          name: `i${index}`,
          ...(sort === 'sidecar' ? { restartPolicy: 'Always' as const } : {}),
        })),
      },
      status,
    };
    const { ready, status: text, restarts } = summarizePod(pod, NOW_MS);
    t.deepEqual([ready, text, restarts], expected);
  });
