import { mkdir, readFile, readlink, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'ava';
import { hasSysResource } from '../../../agent/resources/capabilities.ts';
import type { Container, Pod } from '../../../src/kube/types.ts';
import { createFakePodNetwork } from '../../fakes/pod-network.ts';
import { createTestAgent, eventually, type TestAgent } from '../../support/agent.ts';
import { deriveImage } from '../../support/derive-image.ts';
import { type PrivateDockerd, startDockerd, whyNoDockerd } from '../../support/dockerd.ts';
import { BUSYBOX_IMAGE, loadTestImages } from '../../support/images.ts';

/** What processes of real containers really have, by what the kernel says of them. */
const obstacle = whyNoDockerd();
const real = obstacle ? test.serial.skip : test.serial;
let engine: PrivateDockerd;
let node: TestAgent;

/** Its user `web` is a member of `media`, its group 100. */
const ACCOUNTS_IMAGE = 'berth/accounts:test';
const derived: [name: string, user: string, script?: string][] = [
  ['berth/user-1234:test', '1234'],
  ['berth/user-00:test', '00'],
  ['berth/user-2-32:test', '4294967296'],
  // A name made of digits, beyond every integer: runc looks it up by name and finds uid 0.
  ['berth/user-digits:test', '99999999999999999999', 'echo 99999999999999999999:x:0:0::/:/bin/sh >> /etc/passwd'],
  [ACCOUNTS_IMAGE, 'web', 'echo web:x:1000:100::/:/bin/sh >> /etc/passwd; echo media:x:2000:web >> /etc/group'],
];

if (obstacle) test(`skipped: ${obstacle}`, (t) => t.pass());
else {
  test.before(async () => {
    engine = await startDockerd();
    await loadTestImages(engine.socketPath);
    for (const [name, user, script] of derived)
      await deriveImage(engine, { name, from: BUSYBOX_IMAGE, changes: [`USER ${user}`], ...(script && { script }) });
    node = await createTestAgent({
      docker: engine.docker,
      network: createFakePodNetwork(),
      options: { crashLoopMaxMs: 300 },
    });
    node.start();
  });
  test.after.always(async () => {
    try {
      await node?.remove();
    } finally {
      await engine?.stop();
    }
  });
}

const POLITE = ['sh', '-c', 'trap "exit 0" TERM; while :; do sleep 0.05; done'];

async function apply(name: string, containers: Partial<Container>[], spec: Partial<Pod['spec']> = {}) {
  const common = { name: 'app', image: BUSYBOX_IMAGE, imagePullPolicy: 'Never', command: POLITE };
  await node.apply({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name },
    spec: {
      dnsPolicy: 'Default',
      terminationGracePeriodSeconds: 1,
      ...spec,
      containers: containers.map((container) => ({ ...common, ...container })),
    },
  } as Parameters<TestAgent['apply']>[0]);
}

const running = (name: string) =>
  eventually(`${name} runs`, () => {
    const { phase, containerStatuses = [] } = node.pod(name)?.status ?? {};
    return phase === 'Running' && containerStatuses.every(({ state }) => state?.running);
  });
const containerId = (pod: string, name = 'app') =>
  node.runtime(pod)!.containers.find((one) => one.name === name && one.state === 'running')!.id;
const waitingOf = (pod: string) => node.pod(pod)?.status?.containerStatuses?.[0]?.state?.waiting;

async function inside(pod: string, script: string, container = 'app'): Promise<string> {
  const { output } = await engine.docker.execInContainer(containerId(pod, container), ['sh', '-c', script]);
  return output.toString().trim();
}

/** Lines of /proc/<pid>/status of a container's first process, as the host sees them. */
async function processOf(id: string): Promise<Record<string, string>> {
  const { pid } = await engine.docker.inspectContainer(id);
  const text = await readFile(`/proc/${pid}/status`, 'utf8');
  return Object.fromEntries(text.split('\n').map((line) => line.split(/:\s*/) as [string, string]));
}

async function removed(name: string): Promise<void> {
  await node.unapply(name);
  await eventually(`${name} is gone`, () => !node.pod(name));
}

/** The Engine's default set. */
const DEFAULT_CAPABILITIES = '00000000a80425fb';
const NET_BIND_SERVICE = '0000000000000400';
const NOTHING = '0000000000000000';

real('contexts of containers, as the kernel sees their processes', async (t) => {
  const profiles = join(node.rootDir, 'seccomp/team');
  await mkdir(profiles, { recursive: true });
  const deny = { names: ['mkdir', 'mkdirat'], action: 'SCMP_ACT_ERRNO' };
  await writeFile(
    join(profiles, 'no-mkdir.json'),
    JSON.stringify({ defaultAction: 'SCMP_ACT_ALLOW', syscalls: [deny] }, undefined, 2),
  );
  await apply(
    'contexts',
    [
      { name: 'plain' },
      {
        name: 'tight',
        securityContext: {
          runAsUser: 1000,
          runAsGroup: 3000,
          runAsNonRoot: true,
          readOnlyRootFilesystem: true,
          allowPrivilegeEscalation: false,
          capabilities: { drop: ['ALL'], add: ['NET_BIND_SERVICE'] },
          seccompProfile: { type: 'RuntimeDefault' },
        },
      },
      {
        name: 'local',
        securityContext: { seccompProfile: { type: 'Localhost', localhostProfile: 'team/no-mkdir.json' } },
      },
    ],
    {
      securityContext: {
        supplementalGroups: [4000],
        fsGroup: 5000,
        sysctls: [
          { name: 'net.ipv4.ip_local_port_range', value: '32000 33000' },
          { name: 'net/ipv4/tcp_syncookies', value: '0' },
        ],
      },
    },
  );
  await running('contexts');

  const plain = await processOf(containerId('contexts', 'plain'));
  t.like(plain, { Seccomp: '0', NoNewPrivs: '0', CapEff: DEFAULT_CAPABILITIES, Uid: '0\t0\t0\t0' });
  t.deepEqual(plain['Groups']!.trim().split(' ').map(Number), [0, 4000, 5000]);
  t.is(await inside('contexts', 'wc -c < /proc/interrupts; ls /sys/firmware', 'plain'), '0');
  t.regex(await inside('contexts', 'echo 1 > /proc/sys/kernel/domainname', 'plain'), /Read-only/);
  t.is(
    await inside('contexts', 'cat /proc/sys/net/ipv4/ip_local_port_range /proc/sys/net/ipv4/tcp_syncookies', 'plain'),
    '32000\t33000\n0',
  );

  const tight = await processOf(containerId('contexts', 'tight'));
  t.like(tight, { Seccomp: '2', NoNewPrivs: '1', CapBnd: NET_BIND_SERVICE, CapEff: NOTHING });
  t.like(tight, { Uid: '1000\t1000\t1000\t1000', Gid: '3000\t3000\t3000\t3000' });
  t.deepEqual(tight['Groups']!.trim().split(' ').map(Number), [3000, 4000, 5000]);
  t.regex(await inside('contexts', 'touch /file', 'tight'), /Read-only file system/);

  t.is((await processOf(containerId('contexts', 'local')))['Seccomp'], '2');
  t.regex(await inside('contexts', 'mkdir /tmp/x', 'local'), /Operation not permitted/);

  const [sandbox] = node.runtime('contexts')!.sandboxes;
  const pause = await processOf(sandbox!.id);
  t.like(pause, { Seccomp: '2', NoNewPrivs: '1', CapEff: NOTHING, CapBnd: NOTHING, Uid: '65535\t65535\t65535\t65535' });
  const { pid } = await engine.docker.inspectContainer(sandbox!.id);
  const root = (await readFile(`/proc/${pid}/mountinfo`, 'utf8'))
    .split('\n')
    .find((line) => line.split(' ')[4] === '/');
  t.regex(root!, / \/ ro,/);
  await removed('contexts');
});

// The Engine gives all capabilities there are, and runc fails where root itself lacks one.
const whyNotPrivileged = hasSysResource()
  ? ''
  : ' (skipped: root lacks CAP_SYS_RESOURCE here, so no container can be privileged)';
const privileged = whyNotPrivileged ? test.serial.skip : real;

privileged(`a privileged container: all capabilities, no filter, nothing masked${whyNotPrivileged}`, async (t) => {
  await apply('mighty', [{ securityContext: { privileged: true, seccompProfile: { type: 'RuntimeDefault' } } }]);
  await running('mighty');
  const mighty = await processOf(containerId('mighty'));
  t.like(mighty, { Seccomp: '0', NoNewPrivs: '0' });
  t.true(BigInt(`0x${mighty['CapEff']}`) > BigInt(`0x${DEFAULT_CAPABILITIES}`));
  t.not(await inside('mighty', 'wc -c < /proc/interrupts'), '0');
  await removed('mighty');
});

real('namespaces of the host, and shared processes', async (t) => {
  const ofHost = (kind: string) => readlink(`/proc/${engine.pid}/ns/${kind}`);
  await apply('hosted', [{}], { hostNetwork: true, hostPID: true, hostIPC: true });
  await apply('sharing', [{ name: 'one' }, { name: 'two' }], { shareProcessNamespace: true });
  await apply('alone', [{}], {});
  await Promise.all([running('hosted'), running('sharing'), running('alone')]);
  for (const kind of ['net', 'pid', 'ipc', 'uts'])
    t.is(await inside('hosted', `readlink /proc/self/ns/${kind}`), await ofHost(kind), kind);
  for (const kind of ['net', 'pid', 'ipc', 'uts', 'mnt'])
    t.not(await inside('alone', `readlink /proc/self/ns/${kind}`), await ofHost(kind), kind);
  t.is(await inside('alone', 'cat /proc/1/comm'), 'sh');
  t.is(await inside('sharing', 'cat /proc/1/comm', 'one'), 'pause');
  t.is(
    await inside('sharing', 'readlink /proc/self/ns/pid', 'one'),
    await inside('sharing', 'readlink /proc/self/ns/pid', 'two'),
  );
  t.is(await inside('sharing', 'hostname', 'two'), 'sharing-node-1');
  // Orphans go to the pause process, which takes their ends.
  await inside('sharing', '(sh -c "sleep 0.01 & exit" &); sleep 0.3', 'one');
  t.notRegex(await inside('sharing', 'cat /proc/[0-9]*/stat 2>/dev/null', 'two'), /\) Z 1 /);
  await Promise.all([removed('hosted'), removed('sharing'), removed('alone')]);
});

real('supplementalGroupsPolicy: Merge adds the image’s memberships, Strict does not', async (t) => {
  const groupsOf = async (pod: string) => {
    const { Uid, Gid, Groups } = await processOf(containerId(pod));
    return [Uid!.split('\t')[0], Gid!.split('\t')[0], Groups!.trim()].join(' / ');
  };
  const image = { image: ACCOUNTS_IMAGE };
  await apply('merge', [image], { securityContext: { supplementalGroups: [4000] } });
  await apply('merge-group', [image], { securityContext: { runAsUser: 1000, runAsGroup: 3000 } });
  await apply('strict', [image], {
    securityContext: { supplementalGroupsPolicy: 'Strict', supplementalGroups: [4000] },
  });
  const pods = ['merge', 'merge-group', 'strict'];
  await Promise.all(pods.map(running));
  t.is(await groupsOf('merge'), '1000 / 100 / 100 2000 4000');
  t.is(await groupsOf('merge-group'), '1000 / 3000 / 2000 3000');
  t.is(await groupsOf('strict'), '1000 / 100 / 100 4000');
  await Promise.all(pods.map(removed));
});

real('CVE-2019-11245: the image’s user at every start, and runAsNonRoot by the image that is there', async (t) => {
  const command = ['sh', '-c', 'id -u; exec sleep 1000'];
  await apply('user', [{ image: 'berth/user-1234:test', command, securityContext: { runAsNonRoot: true } }]);
  await running('user');
  const seen = new Set<string>();
  for (let run = 0; run < 3; run++) {
    const id = await eventually('a new run', () => {
      const found = node.runtime('user')?.containers.find((one) => one.state === 'running' && !seen.has(one.id));
      return found?.id;
    });
    seen.add(id);
    t.is((await processOf(id))['Uid'], '1234\t1234\t1234\t1234', `run ${run}`);
    if (run === 2) break;
    await engine.docker.killContainer(id, 'KILL');
  }
  // The tag moves to an image of root: the next run is refused. The pod waits, for the image may come back.
  await deriveImage(engine, { name: 'berth/user-1234:test', from: BUSYBOX_IMAGE });
  await engine.docker.killContainer([...seen].at(-1)!, 'KILL');
  await eventually('refused', () => waitingOf('user')?.reason === 'CreateContainerConfigError');
  t.regex(waitingOf('user')!.message!, /image will run as root/);
  await removed('user');
});

for (const [image, message] of [
  ['berth/user-00:test', /image will run as root/],
  ['berth/user-2-32:test', /user 4294967296 of the image: uids must be between 0 and 2147483647/],
  ['berth/user-digits:test', /user 99999999999999999999 of the image: uids must be/],
  [ACCOUNTS_IMAGE, /image has non-numeric user \(web\), cannot verify user is non-root/],
] as const)
  real(`CVE-2024-40635, CVE-2026-46680: runAsNonRoot with the user of ${image}`, async (t) => {
    await apply('nobody', [{ image, securityContext: { runAsNonRoot: true } }]);
    const waiting = await eventually('refused', () => (waitingOf('nobody')?.message ? waitingOf('nobody') : undefined));
    t.is(waiting.reason, 'CreateContainerConfigError');
    t.regex(waiting.message!, message);
    await removed('nobody');
  });

real('CVE-2023-2431: a profile that is not there, then is', async (t) => {
  const profile = join(node.rootDir, 'seccomp/late.json');
  await mkdir(join(node.rootDir, 'seccomp'), { recursive: true });
  await rm(profile, { force: true });
  const seccompProfile = { type: 'Localhost', localhostProfile: 'late.json' } as const;
  await apply('late', [{ securityContext: { seccompProfile } }]);
  await eventually('refused', () => /no such file/.test(waitingOf('late')?.message ?? ''));
  t.is(waitingOf('late')!.reason, 'CreateContainerError');
  t.deepEqual(node.runtime('late')!.containers, []);
  await writeFile(profile, '{"defaultAction":"SCMP_ACT_ALLOW"}');
  await eventually('runs', () => node.pod('late')?.status?.phase === 'Running');
  t.is((await processOf(containerId('late')))['Seccomp'], '2');
  await removed('late');
});

real('what cannot be had is refused by name, or told', async (t) => {
  const refused: [string, Partial<Pod['spec']>, Partial<Container>, string][] = [
    ['userns', { hostUsers: false }, {}, 'PodFeatureUnsupported'],
    ['armor', { securityContext: { appArmorProfile: { type: 'RuntimeDefault' } } }, {}, 'AppArmor'],
    ['git', { volumes: [{ name: 'v', gitRepo: { repository: 'https://192.0.2.1/x' } }] }, {}, 'PodFeatureUnsupported'],
  ];
  for (const [name, spec, container, reason] of refused) {
    await apply(name, [container], spec);
    await eventually(`${name} failed`, () => node.pod(name)?.status?.phase === 'Failed');
    t.is(node.pod(name)!.status!.reason, reason);
    await removed(name);
  }
  await apply('escape', [{ workingDir: '/proc/self/fd/8' }]);
  await eventually('escape waits', () => waitingOf('escape')?.reason === 'CreateContainerConfigError');
  t.regex(waitingOf('escape')!.message!, /CVE-2024-21626/);
  await removed('escape');
  await apply('labels', [{ securityContext: { seLinuxOptions: { level: 's0:c1' } } }]);
  await running('labels');
  const event = node.events.find(({ pod, reason }) => pod === 'labels-node-1' && reason === 'FieldsWithoutEffect');
  t.regex(event!.message, /seLinuxOptions: the Engine runs without SELinux/);
  await apply('typo', [{ securityContext: { capabilities: { add: ['NET_ADMINN'] } } }]);
  await eventually('typo waits', () => waitingOf('typo')?.reason === 'CreateContainerError');
  t.regex(waitingOf('typo')!.message!, /invalid CapAdd/);
  await Promise.all([removed('labels'), removed('typo')]);
});
