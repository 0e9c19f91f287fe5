import test from 'ava';
import {
  buildMounts,
  type MountedVolume,
  planMounts,
  resolveRecursiveReadOnly,
} from '../../../../agent/containers/mounts.ts';
import type { VolumeMount } from '../../../../src/kube/types.ts';

const VOLUMES = new Map<string, MountedVolume>([
  ['data', { hostPath: '/pods/data', readOnly: false, agentOwned: false }],
  ['conf', { hostPath: '/pods/conf', readOnly: true, agentOwned: true }],
  ['image', { hostPath: '/pods/image', readOnly: true, agentOwned: false, keepsMountFlags: true }],
  [
    'late',
    { hostPath: '', readOnly: true, agentOwned: false, unavailable: { reason: 'ErrImagePull', message: 'no such' } },
  ],
]);
const FILES = { hosts: '/pods/etc-hosts', resolvConf: '/pods/resolv', terminationMessage: '/pods/message' };

const containerOf = (...volumeMounts: VolumeMount[]) => ({ name: 'app', volumeMounts });
const plan = (...mounts: VolumeMount[]) =>
  planMounts(containerOf(...mounts), VOLUMES, new Map([['A', 'x']]), { recursiveReadOnly: true });

test('modes, propagation, an own /etc/hosts, sources made for single mounts', (t) => {
  const container = {
    ...containerOf(
      { name: 'data', mountPath: '/data', readOnly: true, mountPropagation: 'HostToContainer' },
      { name: 'conf', mountPath: '/etc/hosts', subPath: 'hosts' },
      { name: 'conf', mountPath: 'relative', subPathExpr: 'dir/$(A)' },
      { name: 'image', mountPath: '/image', readOnly: true },
      { name: 'data', mountPath: '/all', readOnly: true, recursiveReadOnly: 'Enabled' },
    ),
    terminationMessagePath: '/msg',
  };
  const planned = plan(...container.volumeMounts!);
  t.deepEqual(
    planned.map(({ subPath }) => subPath),
    ['', 'hosts', 'dir/x', '', ''],
  );
  const sources = new Map([
    [planned[1]!, '/subpaths/1'],
    [planned[4]!, '/subpaths/4'],
  ]);
  const bind = (Source: string, Target: string, ReadOnly: boolean, BindOptions: object) => ({
    Type: 'bind',
    Source,
    Target,
    ReadOnly,
    BindOptions,
  });
  t.deepEqual(buildMounts(container, planned, sources, FILES) as unknown[], [
    bind('/pods/data', '/data', true, { Propagation: 'rslave', ReadOnlyNonRecursive: true }),
    bind('/subpaths/1', '/etc/hosts', true, { ReadOnlyNonRecursive: true }),
    bind('/pods/conf', '/relative', true, { ReadOnlyNonRecursive: true }),
    bind('/pods/image', '/image', false, {}),
    bind('/subpaths/4', '/all', true, {}),
    { Type: 'bind', Source: '/pods/resolv', Target: '/etc/resolv.conf' },
    { Type: 'bind', Source: '/pods/message', Target: '/msg' },
  ]);
});

for (const [title, mount, message, reason = 'CreateContainerConfigError'] of [
  ['unknown volume', { name: 'none' }, 'cannot find volume "none" to mount into container "app"'],
  [
    'subPath leaving the volume',
    { name: 'conf', subPath: 'a/../../b' },
    "unable to provision SubPath `a/../../b`: must not contain '..'",
  ],
  ['absolute subPath', { name: 'conf', subPath: '/etc' }, 'error SubPath `/etc` must not be an absolute path'],
  ['unknown variable', { name: 'conf', subPathExpr: '$(NONE)' }, 'subPathExpr $(NONE): missing value for "NONE"'],
  ['expansion that leaves', { name: 'conf', subPathExpr: '../$(A)' }, /must not contain '\.\.'/],
  ['a volume that is not there yet', { name: 'late' }, 'no such', 'ErrImagePull'],
  [
    'recursive without readOnly',
    { name: 'data', recursiveReadOnly: 'IfPossible' },
    'failed to resolve recursive read-only mode: volume "data" requested recursive read-only mode, but it is not read-only',
  ],
] as [string, Omit<VolumeMount, 'mountPath'>, string | RegExp, string?][])
  test(`refused: ${title}`, (t) => {
    const error = t.throws(() => plan({ ...mount, mountPath: '/x' }), { message });
    t.is((error as { reason?: string }).reason, reason);
  });

test('recursive read-only: what is asked for and what the kernel can', (t) => {
  const resolve = (fields: Partial<VolumeMount>, isSupported: boolean) =>
    resolveRecursiveReadOnly({ name: 'v', mountPath: '/v', readOnly: true, ...fields }, isSupported);
  t.false(resolve({}, true));
  t.false(resolve({ recursiveReadOnly: 'Disabled' }, true));
  t.true(resolve({ recursiveReadOnly: 'IfPossible' }, true));
  t.false(resolve({ recursiveReadOnly: 'IfPossible' }, false));
  t.true(resolve({ recursiveReadOnly: 'Enabled' }, true));
  t.throws(() => resolve({ recursiveReadOnly: 'Enabled' }, false), { message: /not supported by the runtime/ });
  t.throws(() => resolve({ recursiveReadOnly: 'Enabled', mountPropagation: 'HostToContainer' }, true), {
    message: /not compatible with propagation "HostToContainer"/,
  });
  t.throws(() => resolve({ recursiveReadOnly: 'Sometimes' }, true), { message: /unknown recursive read-only mode/ });
});
