/** What a sceptic tries with the lives of pods; the stories run side by side on one host. */
import test, { type ExecutionContext } from 'ava';
import type { ContainerStatus, Event, Pod } from '../../src/kube/types.ts';
import {
  type ClusterHost,
  createClusterHost,
  kubectlOrWhyNot,
  until as untilInTime,
  whyNoHost,
} from '../support/cluster-host.ts';
import { BUSYBOX, deployment, httpServer, pod, script } from '../support/manifests.ts';

const kubectl = await kubectlOrWhyNot();
const canRun = !whyNoHost() && !('skip' in kubectl);

let cluster: ClusterHost;
/** A dozen stories side by side on a busy machine take their time; none of them is about how fast things go. */
const until = <T>(what: string, ask: () => Promise<T | undefined | false>) => untilInTime(what, ask, 120_000);

test.before(async () => {
  if (!canRun) return;
  cluster = await createClusterHost('lifecycle');
  await cluster.berthOk('up');
  await cluster.loadImages();
  await cluster.sh('mkdir -p /srv/e2e');
});
test.after.always(() => cluster?.close());

function story(title: string, tell: (t: ExecutionContext) => Promise<unknown>): void {
  if (canRun) test(title, async (t) => void (await tell(t)));
  else test.skip(title, (t) => t.pass());
}

/** Says a word into a file of the host at SIGTERM, `lateSeconds` later, and ends. */
const sayAtTerm = (file: string, word: string, lateSeconds = 0) => ({
  ...script(`trap 'sleep ${lateSeconds}; echo ${word} >>/out/${file}; exit 0' TERM; while :; do sleep 0.1; done`),
  volumeMounts: [{ name: 'out', mountPath: '/out' }],
});
const OUT = [{ name: 'out', hostPath: { path: '/srv/e2e' } }];
/** Runs until it is told to end, and ends at once. */
const POLITE = script("trap 'exit 0' TERM; while :; do sleep 0.1; done");

const get = (name: string) => cluster.get<Pod>('pod', name);
const isReady = ({ status }: Pod) => status?.conditions?.some((one) => one.type === 'Ready' && one.status === 'True');
const ready = (name: string) =>
  until(`${name} is ready`, async () => {
    const found = await get(name);
    return isReady(found) && found;
  });
const phase = (name: string, wanted: string) =>
  until(`${name} is ${wanted}`, async () => {
    const found = await get(name);
    return found.status?.phase === wanted && found;
  });
const containerOf = ({ status }: Pod, name = 'main'): ContainerStatus =>
  [
    ...(status?.containerStatuses ?? []),
    ...(status?.initContainerStatuses ?? []),
    ...(status?.ephemeralContainerStatuses ?? []),
  ].find((one) => one.name === name)!;
const eventsOf = async (name: string) =>
  cluster.list<Event>('events', '--field-selector', `involvedObject.name=${name}`);
const isGone = (name: string) =>
  until(
    `${name} is gone`,
    async () => (await cluster.kubectl('get', 'pod', name, '--ignore-not-found', '-o', 'name')).trim() === '',
  );
const said = (file: string) => cluster.sh(`cat /srv/e2e/${file} 2>/dev/null || true`);

story('kubectl debug: sees the target’s processes, shares the network, runs once; the pod goes on', async (t) => {
  await cluster.apply(pod('debugged', httpServer(8080)));
  const before = await ready('debugged');
  const debug = (name: string, ...command: string[]) =>
    cluster.kubectl(
      'debug',
      'debugged',
      `--image=${BUSYBOX}`,
      '--image-pull-policy=IfNotPresent',
      '--target=main',
      '-c',
      name,
      '--',
      ...command,
    );
  await debug('look', 'sh', '-c', 'cat /proc/1/cmdline | tr "\\0" " "; wget -q -O - http://127.0.0.1:8080/; exit 3');
  const after = await until('it has ended', async () => {
    const found = await get('debugged');
    return containerOf(found, 'look')?.state?.terminated && found;
  });
  t.is(containerOf(after, 'look').state!.terminated!.exitCode, 3);
  t.is(await cluster.kubectl('logs', 'debugged', '-c', 'look'), 'httpd -f -p 8080 -h /www debugged\n');
  t.is(after.spec.ephemeralContainers![0]!.targetContainerName, 'main');
  await debug('again', 'sleep', '3600');
  await until('the second one runs', async () => containerOf(await get('debugged'), 'again')?.state?.running);
  const last = await get('debugged');
  t.is(containerOf(last, 'look').restartCount, 0);
  t.is(containerOf(last).containerID, containerOf(before).containerID);
  t.true(isReady(last));
  t.regex(await cluster.kubectl('describe', 'pod', 'debugged'), /Ephemeral Containers:\n +look:/);
  const spoken = await cluster.tryKubectl(
    [
      'debug',
      'debugged',
      `--image=${BUSYBOX}`,
      '--image-pull-policy=IfNotPresent',
      '-i',
      '-c',
      'ask',
      '--',
      'sh',
      '-c',
      'read word; echo got $word; sleep 1; echo end',
    ],
    'hello\n',
  );
  t.is(spoken.stdout, 'got hello\nend\n');
  const removal = [{ op: 'remove', path: '/spec/ephemeralContainers/0' }];
  const refused = await cluster.tryKubectl([
    'patch',
    'pod',
    'debugged',
    '--subresource=ephemeralcontainers',
    '--type=json',
    '-p',
    JSON.stringify(removal),
  ]);
  t.regex(refused.stderr, /existing ephemeral containers "look" may not be removed/);
  await cluster.kubectl('delete', 'pod', 'debugged');
});

story('kubectl debug: a pod in back-off, a copy of a pod, a node', async (t) => {
  const image = [`--image=${BUSYBOX}`, '--image-pull-policy=IfNotPresent', '--attach=false'];
  await cluster.apply(pod('broken', script('exit 1')));
  await until(
    'in back-off',
    async () => containerOf(await get('broken')).state?.waiting?.reason === 'CrashLoopBackOff',
  );
  await cluster.kubectl('debug', 'broken', ...image, '-c', 'look', '--', 'hostname');
  await until('it has looked', async () => containerOf(await get('broken'), 'look')?.state?.terminated);
  t.is(await cluster.kubectl('logs', 'broken', '-c', 'look'), 'broken\n');
  const { phase: now } = (await get('broken')).status!;
  t.is(now, 'Running');

  await cluster.kubectl(
    'debug',
    'broken',
    '--copy-to=mended',
    '--container=main',
    '--attach=false',
    '--',
    ...script("trap 'exit 0' TERM; while :; do sleep 0.1; done").command,
  );
  t.is(containerOf(await ready('mended')).restartCount, 0);

  const [node] = (await cluster.kubectl('get', 'nodes', '-o', 'name')).trim().split('\n');
  const { stdout } = await cluster.tryKubectl(['debug', node!, ...image, '--', 'cat', '/host/etc/hostname']);
  const name = /pod (node-debugger-\S+)/.exec(stdout)?.[1] ?? '';
  await phase(name, 'Succeeded');
  t.is(await cluster.kubectl('logs', name), await cluster.sh('cat /etc/hostname'));
});

story('RestartAllContainers: init containers too, the address and what is in emptyDir stay', async (t) => {
  const restartPolicyRules = [{ action: 'RestartAllContainers', exitCodes: { operator: 'In', values: [42] } }];
  const volumeMounts = [{ name: 'work', mountPath: '/shared' }];
  await cluster.apply(
    pod(
      'anew',
      {},
      {
        restartPolicy: 'Never',
        initContainers: [
          { name: 'prepare', image: BUSYBOX, ...script('echo prepared >>/shared/log'), volumeMounts },
          { name: 'side', image: BUSYBOX, ...POLITE, restartPolicy: 'Always' },
        ],
        containers: [
          {
            name: 'main',
            image: BUSYBOX,
            // Only the first run fails, and only when asked to.
            ...script(
              'echo main >>/shared/log; until [ -e /shared/fail ]; do sleep 0.1; done; rm /shared/fail; exit 42',
            ),
            restartPolicy: 'Never',
            restartPolicyRules,
            volumeMounts,
          },
          { name: 'other', image: BUSYBOX, ...POLITE },
        ],
        volumes: [{ name: 'work', emptyDir: {} }],
      },
    ),
  );
  const before = await ready('anew');
  await cluster.inPod('anew', 'touch /shared/fail');
  const after = await until('restarted', async () => {
    const found = await get('anew');
    return isReady(found) && containerOf(found).restartCount === 1 && found;
  });
  t.deepEqual(
    ['prepare', 'side', 'main', 'other'].map((name) => containerOf(after, name).restartCount),
    [1, 1, 1, 1],
  );
  t.is(after.status!.podIP, before.status!.podIP);
  t.is(after.status!.phase, 'Running');
  t.is(containerOf(after).lastState!.terminated!.exitCode, 42);
  t.like(containerOf(after, 'other').lastState!.terminated, { exitCode: 137, reason: 'RestartingAllContainers' });
  t.like(
    after.status!.conditions!.find(({ type }) => type === 'AllContainersRestarting'),
    { status: 'False' },
  );
  t.is((await cluster.inPod('anew', 'cat /shared/log')).output, 'prepared\nmain\nprepared\nmain\n');
});

story('rules of a container: restarted by its exit code, whatever the pod says, until another one comes', async (t) => {
  const exitCodes = { operator: 'In', values: [7] };
  await cluster.apply(
    pod(
      'ruled',
      {
        ...script('echo x >>/shared/runs; [ $(wc -l </shared/runs) -ge 2 ] && exit 5; exit 7'),
        restartPolicy: 'Never',
        restartPolicyRules: [{ action: 'Restart', exitCodes }],
        volumeMounts: [{ name: 'work', mountPath: '/shared' }],
      },
      { volumes: [{ name: 'work', emptyDir: {} }] },
    ),
  );
  const after = await phase('ruled', 'Failed');
  t.is(containerOf(after).restartCount, 1);
  t.is(containerOf(after).state!.terminated!.exitCode, 5);
  t.is(containerOf(after).lastState!.terminated!.exitCode, 7);
});

story('sidecars end after the others, the last first; and do not keep a finished pod', async (t) => {
  await cluster.apply(
    pod(
      'ordered',
      {},
      {
        terminationGracePeriodSeconds: 30,
        initContainers: ['one', 'two'].map((name) => ({
          name,
          image: BUSYBOX,
          restartPolicy: 'Always',
          ...sayAtTerm('ordered', name),
        })),
        containers: [{ name: 'main', image: BUSYBOX, ...sayAtTerm('ordered', 'main', 1) }],
        volumes: OUT,
      },
    ),
    pod('job', script('exit 0'), {
      restartPolicy: 'Never',
      initContainers: [{ name: 'side', image: BUSYBOX, restartPolicy: 'Always', ...POLITE }],
    }),
  );
  await ready('ordered');
  await cluster.kubectl('delete', 'pod', 'ordered');
  t.is(await said('ordered'), 'main\ntwo\none\n');
  t.is(containerOf(await phase('job', 'Succeeded'), 'side').state!.terminated!.exitCode, 0);
});

story('grace: preStop counts, SIGKILL comes when it is over', async (t) => {
  await cluster.apply(
    pod(
      'stubborn',
      {
        ...script(
          "trap 'echo term >>/out/stubborn' TERM; while :; do date +%s >/out/stubborn-lived-until; sleep 0.1; done",
        ),
        volumeMounts: [{ name: 'out', mountPath: '/out' }],
        lifecycle: {
          preStop: {
            exec: { command: ['sh', '-c', 'date +%s >/out/stubborn-asked; echo prestop >>/out/stubborn; sleep 2'] },
          },
        },
      },
      { terminationGracePeriodSeconds: 5, volumes: OUT },
    ),
  );
  await ready('stubborn');
  await cluster.kubectl('delete', 'pod', 'stubborn');
  t.is(await said('stubborn'), 'prestop\nterm\n');
  const tookSeconds = Number(await said('stubborn-lived-until')) - Number(await said('stubborn-asked'));
  t.true(tookSeconds >= 4 && tookSeconds <= 15, `took ${tookSeconds} s`);
});

story('a second deletion with less grace shortens a termination under way, force ends it', async (t) => {
  const slow = { ...script("trap '' TERM; while :; do sleep 0.1; done") };
  await cluster.apply(
    pod('impatient', slow, { terminationGracePeriodSeconds: 300 }),
    pod('forced', slow, { terminationGracePeriodSeconds: 300 }),
  );
  await Promise.all([ready('impatient'), ready('forced')]);
  const id = containerOf(await get('forced')).containerID!.replace('docker://', '');
  await cluster.kubectl('delete', 'pod', 'impatient', 'forced', '--wait=false');
  await until('terminating', async () => (await get('impatient')).metadata.deletionGracePeriodSeconds === 300);
  t.is((await get('impatient')).status!.phase, 'Running');
  const startedMs = performance.now();
  await cluster.kubectl('delete', 'pod', 'impatient', '--grace-period=3', '--wait=false');
  await cluster.kubectl('delete', 'pod', 'forced', '--grace-period=0', '--force');
  t.is(await cluster.kubectl('get', 'pod', 'forced', '--ignore-not-found'), '');
  await isGone('impatient');
  t.true(performance.now() - startedMs < 200_000, 'not the five minutes that were asked for first');
  await until('the container of the forced one is gone too', async () => {
    const all = await cluster.containers();
    return [...all.values()].every((one) => one.id !== id);
  });
});

story('a deadline that comes later ends the pod; one in the spec too', async (t) => {
  await cluster.apply(pod('late', POLITE), pod('dated', POLITE, { activeDeadlineSeconds: 3 }));
  await ready('late');
  await cluster.kubectl('patch', 'pod', 'late', '-p', '{"spec":{"activeDeadlineSeconds":1}}');
  for (const name of ['late', 'dated']) {
    const { status } = await phase(name, 'Failed');
    t.like(status!, {
      reason: 'DeadlineExceeded',
      message: 'Pod was active on the node longer than the specified deadline',
    });
    t.truthy(status!.containerStatuses![0]!.state!.terminated);
  }
});

story('an image is changed in place: only that container restarts', async (t) => {
  await cluster.sh('true');
  await cluster.apply(
    pod(
      'updated',
      {},
      {
        containers: [
          { name: 'main', image: BUSYBOX, ...POLITE },
          { name: 'other', image: BUSYBOX, ...POLITE },
        ],
      },
    ),
  );
  const before = await ready('updated');
  await cluster.kubectl('set', 'image', 'pod/updated', 'main=berth/absent:1');
  await until('the image is missing', async () =>
    /ErrImage|ImagePull/.test(containerOf(await get('updated')).state?.waiting?.reason ?? ''),
  );
  await cluster.kubectl('set', 'image', 'pod/updated', `main=${BUSYBOX}`);
  const after = await until('runs again', async () => {
    const found = await get('updated');
    return isReady(found) && containerOf(found).restartCount === 1 && found;
  });
  t.is(containerOf(after, 'other').containerID, containerOf(before, 'other').containerID);
  const messages = (await eventsOf('updated')).map(({ message }) => message);
  t.true(messages.includes('Container main definition changed, will be restarted'));
});

story('a stop signal of the spec is the one that comes', async (t) => {
  await cluster.apply(
    pod(
      'signalled',
      {
        ...script(
          "trap 'echo usr1 >>/out/signal; exit 0' USR1; trap 'echo term >>/out/signal' TERM; while :; do sleep 0.1; done",
        ),
        lifecycle: { stopSignal: 'SIGUSR1' },
        volumeMounts: [{ name: 'out', mountPath: '/out' }],
      },
      { os: { name: 'linux' }, terminationGracePeriodSeconds: 20, volumes: OUT },
    ),
  );
  t.is(containerOf(await ready('signalled')).stopSignal, 'SIGUSR1');
  await cluster.kubectl('delete', 'pod', 'signalled');
  t.is(await said('signal'), 'usr1\n');
  const wrong = await cluster.tryKubectl(
    ['apply', '-f', '-'],
    JSON.stringify(pod('unknown-os', { ...POLITE, lifecycle: { stopSignal: 'SIGUSR1' } })),
  );
  t.regex(wrong.stderr, /may not be set for containers with empty `spec.os.name`/);
});

story('hooks: HTTPS to a server of HTTP falls back and says so; tcpSocket fails and ends the container', async (t) => {
  await cluster.apply(
    pod('hooked', {
      ...httpServer(8080),
      lifecycle: {
        postStart: {
          exec: { command: ['sh', '-c', 'until wget -q -O /dev/null http://127.0.0.1:8080; do sleep 0.1; done'] },
        },
        preStop: { httpGet: { scheme: 'HTTPS', port: 8080 } },
      },
    }),
    pod(
      'socketed',
      { ...script('sleep 3600'), lifecycle: { postStart: { tcpSocket: { port: 80 } } } },
      { restartPolicy: 'Never' },
    ),
  );
  await ready('hooked');
  await cluster.kubectl('delete', 'pod', 'hooked');
  const fallback = (await eventsOf('hooked')).find(({ reason }) => reason === 'LifecycleHTTPFallback');
  t.regex(fallback?.message ?? '', /got HTTP response, retry with HTTP succeeded$/);
  await phase('socketed', 'Failed');
  t.true((await eventsOf('socketed')).some(({ reason }) => reason === 'FailedPostStartHook'));
});

story('last words: from the file, of its end; else the end of the log', async (t) => {
  const lines = 'i=0; while [ $i -lt 100 ]; do echo line $i; i=$((i+1)); done';
  await cluster.apply(
    pod('worded', script('{ head -c 5000 /dev/zero | tr "\\0" x; echo end; } >/dev/termination-log; exit 1'), {
      restartPolicy: 'Never',
    }),
    pod(
      'logged',
      { ...script(`${lines}; exit 1`), tty: true, terminationMessagePolicy: 'FallbackToLogsOnError' },
      { restartPolicy: 'Never' },
    ),
  );
  const words = containerOf(await phase('worded', 'Failed')).state!.terminated!.message!;
  t.is(words.length, 4096);
  t.true(words.endsWith('xend\n'));
  const log = containerOf(await phase('logged', 'Failed'))
    .state!.terminated!.message!.trim()
    .split(/\r?\n/);
  t.is(log.length, 80);
  t.is(log[0], 'line 20');
  t.is(log.at(-1), 'line 99');
});

story('R20: pods that the node rejects do not fill the API', async (t) => {
  const template = deployment('rejected', 1, POLITE) as { spec: { template: { spec: object } } };
  Object.assign(template.spec.template.spec, { hostUsers: false });
  await cluster.apply(template);
  const pods = () => cluster.list<Pod>('pods', '-l', 'app=rejected');
  await until('the second one waits', async () =>
    (await pods()).some(({ status }) => status?.phase === 'Pending' && status.containerStatuses),
  );
  await cluster.sh('sleep 3');
  const all = await pods();
  t.is(all.length, 2);
  t.is(all.filter(({ status }) => status?.phase === 'Failed').length, 1);
  await cluster.kubectl('delete', 'deployment', 'rejected');
  await until('all are gone', async () => (await pods()).length === 0);
});
