import test from 'ava';
import { MASKED_PATHS, READ_ONLY_PATHS } from '../../../../agent/containers/masked-paths.ts';
import { buildSecurity, type SecurityOptions } from '../../../../agent/containers/security.ts';
import type { Container, PodSecurityContext, SecurityContext } from '../../../../src/kube/types.ts';
import { podOf } from '../pod.ts';

const CONTAINER = { name: 'app', image: 'i' };

function securityOf(
  own: SecurityContext = {},
  ofPod: PodSecurityContext = {},
  imageUser = '',
  options: SecurityOptions = { seccompDefault: false },
  annotations: Record<string, string> = {},
) {
  const container: Container = { ...CONTAINER, securityContext: own };
  const pod = podOf({ securityContext: ofPod, containers: [container] }, { annotations });
  return buildSecurity(pod, container, { user: imageUser }, options);
}

const UNPRIVILEGED = { MaskedPaths: [...MASKED_PATHS], ReadonlyPaths: [...READ_ONLY_PATHS] };
const WHOSE = '(pod: "web_default(uid-1)", container: app)';

test('the container’s context wins over the pod’s', (t) => {
  const { user, hostConfig } = securityOf(
    {
      runAsUser: 1000,
      readOnlyRootFilesystem: true,
      allowPrivilegeEscalation: false,
      capabilities: { add: ['NET_ADMIN', 'CAP_SYS_TIME'], drop: ['ALL'] },
      seccompProfile: { type: 'RuntimeDefault' },
      seLinuxOptions: { level: 's0:c1' },
    },
    {
      runAsUser: 1,
      runAsGroup: 2,
      fsGroup: 3,
      supplementalGroups: [4, 3],
      seccompProfile: { type: 'Unconfined' },
      seLinuxOptions: { user: 'u', level: 's1' },
    },
  );
  t.is(user, '1000:2');
  t.deepEqual(hostConfig, {
    ...UNPRIVILEGED,
    ReadonlyRootfs: true,
    CapAdd: ['NET_ADMIN', 'SYS_TIME'],
    CapDrop: ['ALL'],
    GroupAdd: ['4', '3'],
    SecurityOpt: ['no-new-privileges', 'label=level:s0:c1'],
  });
});

test('nothing said: masked paths, no filter; with seccompDefault the Engine’s', (t) => {
  t.deepEqual(securityOf().hostConfig, { ...UNPRIVILEGED, SecurityOpt: ['seccomp=unconfined'] });
  t.deepEqual(securityOf({}, {}, '', { seccompDefault: true }).hostConfig, UNPRIVILEGED);
});

test('privileged: no masks, no seccomp, no AppArmor, whatever the profiles', (t) => {
  const { hostConfig } = securityOf({
    privileged: true,
    seccompProfile: { type: 'Localhost', localhostProfile: 'p' },
    appArmorProfile: { type: 'Unconfined' },
  });
  t.deepEqual(hostConfig, { Privileged: true });
});

for (const [title, own, ofPod, annotations, expected] of [
  ['own profile', { appArmorProfile: { type: 'Localhost', localhostProfile: 'a' } }, {}, {}, ['apparmor=a']],
  ['the pod’s', {}, { appArmorProfile: { type: 'Unconfined' } }, {}, ['apparmor=unconfined']],
  [
    'runtime default over the pod’s',
    { appArmorProfile: { type: 'RuntimeDefault' } },
    { appArmorProfile: { type: 'Unconfined' } },
    {},
    [],
  ],
  [
    'annotation',
    {},
    { appArmorProfile: { type: 'Unconfined' } },
    { 'container.apparmor.security.beta.kubernetes.io/app': 'localhost/old' },
    ['apparmor=old'],
  ],
] as [string, SecurityContext, PodSecurityContext, Record<string, string>, string[]][])
  test(`AppArmor: ${title}`, (t) => {
    const { hostConfig } = securityOf(own, ofPod, '', { seccompDefault: true }, annotations);
    t.deepEqual(hostConfig.SecurityOpt ?? [], expected);
  });

for (const [title, own, imageUser, expected] of [
  ['the image’s', {}, '7:8', undefined],
  ['runAsUser', { runAsUser: 5 }, '7:8', '5'],
  ['runAsUser and runAsGroup', { runAsUser: 5, runAsGroup: 6 }, '7:8', '5:6'],
  ['runAsGroup alone keeps the image’s user', { runAsGroup: 6 }, '7:8', '7:6'],
  ['runAsGroup alone, image of root', { runAsGroup: 6 }, '', '0:6'],
  ['runAsGroup alone, user by name', { runAsGroup: 6 }, 'www:www', 'www:6'],
  ['uid 0 is allowed unless refused', { runAsUser: 0 }, '7', '0'],
  ['runAsNonRoot names the verified user', { runAsNonRoot: true }, '1000:0', '1000:0'],
  ['runAsNonRoot with runAsUser', { runAsNonRoot: true, runAsUser: 3 }, '', '3'],
] as [string, SecurityContext, string, string | undefined][])
  test(`user: ${title}`, (t) => {
    t.is(securityOf(own, {}, imageUser).user, expected);
  });

for (const [title, own, ofPod, imageUser, message] of [
  ['image of root', { runAsNonRoot: true }, {}, '', `container has runAsNonRoot and image will run as root ${WHOSE}`],
  [
    'image of uid 0',
    { runAsNonRoot: true },
    {},
    '0:5',
    `container has runAsNonRoot and image will run as root ${WHOSE}`,
  ],
  [
    'CVE-2019-11245: uid 0 in another spelling',
    { runAsNonRoot: true },
    {},
    '00',
    `container has runAsNonRoot and image will run as root ${WHOSE}`,
  ],
  ['uid +0', {}, { runAsNonRoot: true }, '+0', `container has runAsNonRoot and image will run as root ${WHOSE}`],
  [
    'uid 0 asked for',
    { runAsUser: 0 },
    { runAsNonRoot: true },
    '1',
    `container's runAsUser breaks non-root policy ${WHOSE}`,
  ],
  [
    'a name, be it root or not',
    { runAsNonRoot: true },
    {},
    'www:www',
    `container has runAsNonRoot and image has non-numeric user (www), cannot verify user is non-root ${WHOSE}`,
  ],
  ['CVE-2024-40635: 2^32 as runAsUser', { runAsUser: 2 ** 32 }, {}, '', /runAsUser 4294967296: must be between 0 and/],
  ['CVE-2024-40635: 2^31 as runAsUser', { runAsUser: 2 ** 31 }, {}, '', /runAsUser 2147483648: must be/],
  ['CVE-2024-40635: 2^32 of the image', {}, {}, '4294967296', /user 4294967296 of the image: uids must be between/],
  [
    'CVE-2026-46680: a number beyond every integer, which may be a name with uid 0',
    { runAsNonRoot: true },
    {},
    '99999999999999999999',
    /uids must be between/,
  ],
  ['CVE-2026-46680: the same without runAsNonRoot', {}, {}, '99999999999999999999:0', /uids must be between/],
  ['a negative uid', { runAsUser: -1 }, {}, '', /runAsUser -1: must be/],
  ['a negative uid of the image', {}, {}, '-1', /uids must be/],
  ['half a uid', { runAsUser: 1.5 }, {}, '', /runAsUser 1.5: must be/],
  ['a group out of range', { runAsGroup: 2 ** 31 }, {}, '', /runAsGroup 2147483648: must be/],
  ['a supplemental group out of range', {}, { supplementalGroups: [2 ** 32] }, '', /supplementalGroups 4294967296/],
  ['an fsGroup out of range', {}, { fsGroup: -5 }, '', /fsGroup -5/],
  [
    'CVE-2023-2431: Localhost without a profile',
    { seccompProfile: { type: 'Localhost' } },
    {},
    '',
    'localhostProfile must be set if seccompProfile type is Localhost.',
  ],
  [
    'CVE-2023-2431: Localhost with an empty profile, of the pod',
    {},
    { seccompProfile: { type: 'Localhost', localhostProfile: '' } },
    '',
    'localhostProfile must be set if seccompProfile type is Localhost.',
  ],
  [
    'CVE-2023-2431: a profile nobody read',
    { seccompProfile: { type: 'Localhost', localhostProfile: 'p.json' } },
    {},
    '',
    /was not read/,
  ],
  ['an unknown type of seccomp', { seccompProfile: { type: 'None' } }, {}, '', /seccompProfile.type "None": must be/],
] as [string, SecurityContext, PodSecurityContext, string, string | RegExp][])
  test(`refused: ${title}`, (t) => {
    const error = t.throws(() => securityOf(own, ofPod, imageUser), { message });
    t.is((error as { reason?: string }).reason, 'CreateContainerConfigError');
  });

test('a Localhost profile is given to the Engine as text', (t) => {
  const seccompProfile = '{"defaultAction":"SCMP_ACT_ERRNO"}';
  const own = { seccompProfile: { type: 'Localhost', localhostProfile: 'p.json' } } as const;
  const { hostConfig } = securityOf(own, {}, '', { seccompDefault: false, seccompProfile });
  t.deepEqual(hostConfig.SecurityOpt, [`seccomp=${seccompProfile}`]);
});
