import test from 'ava';
import {
  type EngineFeatures,
  fieldsWithoutEffect,
  parseEngineFeatures,
  refuseUnsupported,
} from '../../../../agent/pods/unsupported.ts';
import type { Container, Pod, Volume } from '../../../../src/kube/types.ts';
import { podOf } from '../pod.ts';

const ENGINE: EngineFeatures = { appArmor: false, seccomp: true, seLinux: false };
const app = (fields: Partial<Container>) => ({ containers: [{ name: 'app', image: 'i', ...fields }] });
const volume = (fields: Partial<Volume>) => ({ volumes: [{ name: 'v', ...fields }] });

for (const [title, spec, message] of [
  ['user namespaces', { hostUsers: false }, /spec\.hostUsers false: Docker has no user namespaces/],
  ['a runtime class', { runtimeClassName: 'gvisor' }, /spec\.runtimeClassName "gvisor": /],
  ['resource claims', { resourceClaims: [{ name: 'gpu' }] }, /spec\.resourceClaims: /],
  [
    'claims of a container',
    app({ resources: { claims: [{ name: 'gpu' }] } }),
    /spec\.containers\[0\]\.resources\.claims: /,
  ],
  ['block devices', app({ volumeDevices: [{ name: 'v', devicePath: '/dev/x' }] }), /containers\[0\]\.volumeDevices: /],
  [
    'unmasked /proc in an init container',
    { initContainers: [{ name: 'i', securityContext: { procMount: 'Unmasked' } }] },
    /spec\.initContainers\[0\]\.securityContext\.procMount "Unmasked": /,
  ],
  [
    'CVE-2024-10220: a gitRepo volume',
    volume({ gitRepo: { repository: 'r' } }),
    /spec\.volumes\[0\]\.gitRepo: .*CVE-2024-10220/,
  ],
  ['iSCSI', volume({ iscsi: { targetPortal: 'p', iqn: 'q', lun: 0 } }), /spec\.volumes\[0\]\.iscsi: /],
  ['a cloud’s disk', volume({ awsElasticBlockStore: { volumeID: 'v' } }), /awsElasticBlockStore: .*CSI/],
  ['a flexVolume without fields', volume({ flexVolume: {} as Volume['flexVolume'] }), /flexVolume: /],
  ['two ways to share processes', { hostPID: true, shareProcessNamespace: true }, /spec\.shareProcessNamespace: /],
] as [string, Partial<Pod['spec']>, RegExp][])
  test(`refused: ${title}`, (t) => {
    const refusal = refuseUnsupported(podOf(spec), ENGINE);
    t.is(refusal?.reason, 'PodFeatureUnsupported');
    t.regex(refusal!.message, message);
  });

test('several fields are all named', (t) => {
  const { message } = refuseUnsupported(podOf({ hostUsers: false, runtimeClassName: 'x' }), ENGINE)!;
  t.regex(message, /hostUsers.*; .*runtimeClassName/);
});

for (const [title, spec] of [
  ['nothing special', {}],
  ['hostUsers: true', { hostUsers: true }],
  ['empty lists', { resourceClaims: [], runtimeClassName: '' }],
  ['the default of procMount', app({ securityContext: { procMount: 'Default' } })],
  ['what schedulers read', { schedulingGates: [{ name: 'g' }], preemptionPolicy: 'Never' }],
  ['emptyDir', volume({ emptyDir: {} })],
  [
    'limits of disks and devices',
    app({ resources: { limits: { 'ephemeral-storage': '1Gi', 'vendor.com/gpu': '1' } } }),
  ],
] as [string, Partial<Pod['spec']>][])
  test(`accepted in silence: ${title}`, (t) => {
    t.is(refuseUnsupported(podOf(spec), ENGINE), undefined);
    t.deepEqual(fieldsWithoutEffect(podOf(spec), ENGINE), []);
  });

for (const [title, spec, expected] of [
  [
    'Windows’ options',
    { securityContext: { windowsOptions: { hostProcess: true } }, ...app({ securityContext: { windowsOptions: {} } }) },
    ['spec.securityContext.windowsOptions: Windows only'],
  ],
  [
    'misspelt fields',
    { restartpolicy: 'Never', ...app({ securityContext: { readOnlyRootFileSystem: true } as never }) },
    ['spec.containers[0].securityContext.readOnlyRootFileSystem: unknown', 'spec.restartpolicy: unknown'],
  ],
  [
    'SELinux labels without SELinux',
    app({ securityContext: { seLinuxOptions: { level: 's0' } } }),
    ['seLinuxOptions: the Engine runs without SELinux'],
  ],
] as [string, Partial<Pod['spec']>, string[]][])
  test(`without effect, and told: ${title}`, (t) => {
    t.is(refuseUnsupported(podOf(spec), ENGINE), undefined);
    t.deepEqual(fieldsWithoutEffect(podOf(spec), ENGINE), expected);
  });

test('SELinux labels are silent where the Engine has SELinux', (t) => {
  const pod = podOf(app({ securityContext: { seLinuxOptions: { level: 's0' } } }));
  t.deepEqual(fieldsWithoutEffect(pod, { ...ENGINE, seLinux: true }), []);
});

const APPARMOR = 'container.apparmor.security.beta.kubernetes.io/app';
for (const [title, spec, annotations, enabled, message] of [
  [
    'profile of the pod',
    { securityContext: { appArmorProfile: { type: 'RuntimeDefault' } } },
    {},
    false,
    'AppArmor is not enabled on the host',
  ],
  [
    'profile of a container',
    app({ securityContext: { appArmorProfile: { type: 'Localhost', localhostProfile: 'p' } } }),
    {},
    false,
    'AppArmor is not enabled on the host',
  ],
  ['annotation', {}, { [APPARMOR]: 'runtime/default' }, false, 'AppArmor is not enabled on the host'],
  [
    'unconfined',
    { securityContext: { appArmorProfile: { type: 'Unconfined' } } },
    { [APPARMOR]: 'unconfined' },
    false,
    undefined,
  ],
  ['where it is enabled', { securityContext: { appArmorProfile: { type: 'RuntimeDefault' } } }, {}, true, undefined],
  [
    'no name',
    { securityContext: { appArmorProfile: { type: 'Localhost', localhostProfile: ' ' } } },
    {},
    true,
    'invalid AppArmor profile name: " "',
  ],
] as [string, Partial<Pod['spec']>, Record<string, string>, boolean, string | undefined][])
  test(`AppArmor: ${title}`, (t) => {
    const refusal = refuseUnsupported(podOf(spec, { annotations }), { ...ENGINE, appArmor: enabled });
    t.deepEqual(
      refusal,
      message === undefined ? undefined : { reason: 'AppArmor', message: `Cannot enforce AppArmor: ${message}` },
    );
  });

test('an Engine without seccomp runs nobody who asks for a filter', (t) => {
  const engine = { ...ENGINE, seccomp: false };
  const asking = (type: 'RuntimeDefault' | 'Unconfined' | 'Localhost') =>
    podOf({ securityContext: { seccompProfile: { type } } });
  t.regex(refuseUnsupported(asking('RuntimeDefault'), engine)!.message, /runs without seccomp/);
  t.is(refuseUnsupported(asking('Unconfined'), engine), undefined);
  t.is(refuseUnsupported(asking('Localhost'), engine), undefined);
});

test('what the Engine tells of itself', (t) => {
  t.deepEqual(parseEngineFeatures(['name=apparmor', 'name=seccomp,profile=builtin', 'name=cgroupns']), {
    appArmor: true,
    seccomp: true,
    seLinux: false,
  });
  t.false(parseEngineFeatures(['name=seccomp,profile=unconfined']).seccomp);
  t.true(parseEngineFeatures(['name=seccomp,profile=/etc/docker/own.json']).seccomp);
  t.deepEqual(parseEngineFeatures([]), { appArmor: false, seccomp: false, seLinux: false });
});
