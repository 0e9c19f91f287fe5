import test from 'ava';
import { computePodStatus } from '../../../../agent/status/compute.ts';
import { podOf } from '../pod.ts';

const pod = podOf({
  containers: [
    {
      name: 'app',
      volumeMounts: [
        { name: 'e', mountPath: '/e', readOnly: true, recursiveReadOnly: 'Enabled' },
        { name: 'i', mountPath: '/i', readOnly: true, recursiveReadOnly: 'IfPossible' },
        { name: 'd', mountPath: '/d', readOnly: true, recursiveReadOnly: 'Disabled' },
        { name: 'w', mountPath: '/w' },
      ],
    },
  ],
});

for (const [recursiveReadOnly, modes] of [
  [true, ['Enabled', 'Enabled', 'Disabled', undefined]],
  [false, ['Enabled', 'Disabled', 'Disabled', undefined]],
] as const)
  test(`the status tells what read-only mounts are, on a kernel that ${recursiveReadOnly ? 'can' : 'cannot'} make trees so`, (t) => {
    const runtime = { uid: 'uid-1', name: 'web', namespace: 'default', ips: [], sandboxes: [], containers: [] };
    const input = { pod, runtime, waiting: new Map(), terminal: false, nowMs: 0 };
    const status = computePodStatus(
      input,
      { startup: () => undefined, readiness: () => undefined },
      { hostIps: [], recursiveReadOnly },
    );
    t.deepEqual(
      status.containerStatuses![0]!.volumeMounts!.map((mount) => mount.recursiveReadOnly),
      [...modes],
    );
  });
